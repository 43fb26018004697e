// Drives etcd over gRPC:
//
//	etcdload --endpoint HOST:PORT --work put|get|stale|fill --keys N
//	         [--connections N --sockets N --seconds S]
//
// Each connection is a worker with one request under way; the workers share
// the sockets, over which gRPC multiplexes: the client uses the less CPU the
// fewer there are. `fill` puts every key once, 100 to a transaction. The last
// line is one JSON object.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type result struct {
	latencies []time.Duration
	errors    int
}

func key(n int) string { return fmt.Sprintf("bench/%d", n) }

func value(n int) string { return fmt.Sprintf(`{"node_id":1,"process_id":%d}`, n) }

func request(c *clientv3.Client, work string, keys, n int) error {
	var err error
	switch work {
	case "put":
		_, err = c.Put(context.Background(), key(n%keys), value(n))
	case "get":
		_, err = c.Get(context.Background(), key(n%keys))
	case "stale":
		_, err = c.Get(context.Background(), key(n%keys), clientv3.WithSerializable())
	}
	return err
}

func worker(c *clientv3.Client, work string, keys, first, step int, end time.Time) result {
	var r result
	for n := first; ; n += step {
		began := time.Now()
		if began.After(end) {
			return r
		}
		if err := request(c, work, keys, n); err != nil {
			r.errors++
			continue
		}
		r.latencies = append(r.latencies, time.Since(began))
	}
}

func fill(c *clientv3.Client, keys int) error {
	const batch = 100
	var group sync.WaitGroup
	failed := make(chan error, 16)
	for w := 0; w < 16; w++ {
		group.Add(1)
		go func(w int) {
			defer group.Done()
			for at := w * batch; at < keys; at += 16 * batch {
				var ops []clientv3.Op
				for n := at; n < at+batch && n < keys; n++ {
					ops = append(ops, clientv3.OpPut(key(n), value(n)))
				}
				if _, err := c.Txn(context.Background()).Then(ops...).Commit(); err != nil {
					failed <- err
					return
				}
			}
		}(w)
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcdload:", err)
	os.Exit(1)
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:2379", "")
	work := flag.String("work", "put", "put, get, stale or fill")
	keys := flag.Int("keys", 10000, "")
	connections := flag.Int("connections", 64, "")
	sockets := flag.Int("sockets", 8, "")
	seconds := flag.Float64("seconds", 4, "")
	flag.Parse()

	if *sockets > *connections {
		*sockets = *connections
	}
	clients := make([]*clientv3.Client, *sockets)
	for i := range clients {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, DialTimeout: 5 * time.Second})
		if err != nil {
			fail(err)
		}
		clients[i] = c
	}
	if *work == "fill" {
		if err := fill(clients[0], *keys); err != nil {
			fail(err)
		}
		return
	}
	results := make([]result, *connections)
	began := time.Now()
	end := began.Add(time.Duration(*seconds * float64(time.Second)))
	var group sync.WaitGroup
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			results[i] = worker(clients[i%*sockets], *work, *keys, i, *connections, end)
		}(i)
	}
	group.Wait()
	report(results, time.Since(began))
}

func report(results []result, took time.Duration) {
	var all []time.Duration
	errors := 0
	for _, r := range results {
		all = append(all, r.latencies...)
		errors += r.errors
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[int(share*float64(len(all)-1))].Nanoseconds()) / 1e6
	}
	fmt.Printf(`{"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"errors":%d}`+"\n",
		len(all), took.Seconds(), at(0.5), at(0.99), errors)
}
