package main

import (
	"context"
	"fmt"
	"time"
)

const (
	nodesAtOnce     = 3
	leaseTTLMs      = 1000 // the least
	leaseTTLSpan    = 500
	nodeNames       = 3
	nodeLifeMax     = 4 * time.Second
	beatTimeout     = 300 * time.Millisecond
	observeEvery    = 70 * time.Millisecond
	observeMax      = 9 * time.Second
	lifeAgainMax    = 3                                      // lives under one id
	nodeFirst       = 1000                                   // ids below are of clients, which have no lease
	ghostBeatsEvery = leaseTTLMs / 3 * time.Millisecond      // of a planted bug
	ghostBeatsLast  = (leaseTTLMs + 4000) * time.Millisecond // longer than any lease may
)

// nodeWorker is a node: takes a lease, registers its names, sends heartbeats,
// dies or says goodbye, and is watched until its names are gone.
type nodeWorker struct {
	*worker
	ttl int64
}

func nodeName(node uint64, i int) (env uint64, name string) {
	return uint64(1 + i%2), fmt.Sprintf("chaos::Node/%d/%c", node, 'a'+i)
}

func nodeRoom(node uint64) string { return fmt.Sprintf("node/%d", node) }

// live goes on until the context ends, and begins no new life when `dying` is
// closed.
func (n *nodeWorker) live(ctx context.Context, dying <-chan struct{}) {
	defer n.close()
	ended := func() bool {
		select {
		case <-dying:
			return true
		default:
			return ctx.Err() != nil
		}
	}
	for id := uint64(nodeFirst + n.id*1000); !ended(); id++ {
		for lives := n.rng.Intn(lifeAgainMax); lives >= 0 && !ended(); lives-- {
			if !n.liveOnce(ctx, id, dying) {
				break
			}
		}
	}
}

func (n *nodeWorker) about(id uint64, k kind) *op {
	return &op{Client: n.id, Replica: n.anyReplica(), Kind: k, Room: nodeRoom(id),
		New: holder{Node: id}}
}

// liveOnce returns false when nothing more should be done under this id.
func (n *nodeWorker) liveOnce(ctx context.Context, id uint64, dying <-chan struct{}) bool {
	up := n.about(id, opNodeUp)
	n.ttl = leaseTTLMs + n.rng.Int63n(leaseTTLSpan)
	up.TTL = n.ttl
	n.ownKey(up)
	n.ask(up)
	if up.Outcome != decided {
		return false // it may take the lease any time
	}
	for i := 0; i < nodeNames; i++ {
		n.register(id, i)
	}
	life, stop := context.WithTimeout(ctx, time.Duration(n.rng.Int63n(int64(nodeLifeMax))))
	defer stop()
	go func() {
		select {
		case <-dying:
			stop()
		case <-life.Done():
		}
	}()
	n.beat(life, id)
	if n.rng.Intn(4) == 0 {
		n.sayGoodbye(id)
	}
	n.run.plant.haunt(n.run, n.about(id, opBeat))
	return n.observe(ctx, id)
}

func (n *nodeWorker) register(id uint64, i int) {
	o := n.about(id, []kind{opPut, opPutAbsent}[n.rng.Intn(2)])
	o.Env, o.Name = nodeName(id, i)
	o.New.Process = nextProcess()
	if n.percent(keyPercent) {
		n.ownKey(o)
	}
	n.ask(o)
}

// beat sends heartbeats until its life is over, or the lease.
func (n *nodeWorker) beat(life context.Context, id uint64) {
	for life.Err() == nil {
		o := n.about(id, opBeat)
		o.TTL = n.ttl
		n.timeout = beatTimeout
		n.ask(o)
		n.timeout = clientTimeout
		if o.Outcome == decided && o.Status == 404 {
			return
		}
		n.look(id)
		if n.rng.Intn(6) == 0 {
			n.register(id, n.rng.Intn(nodeNames))
		}
		wait(life, time.Duration(n.ttl/6+n.rng.Int63n(n.ttl/4))*time.Millisecond)
	}
}

func (n *nodeWorker) sayGoodbye(id uint64) {
	o := n.about(id, opNodeDown)
	if n.percent(keyPercent) {
		n.ownKey(o)
	}
	n.ask(o)
}

// look asks for one name of the node, or lists those of an environment.
func (n *nodeWorker) look(id uint64) *op {
	o := n.about(id, opGet)
	o.New = holder{}
	o.Env, o.Name = nodeName(id, n.rng.Intn(nodeNames))
	if n.rng.Intn(2) == 0 {
		var names []string
		for i := 0; i < nodeNames; i++ {
			if env, name := nodeName(id, i); env == o.Env {
				names = append(names, name)
			}
		}
		o.list(fmt.Sprintf("chaos::Node/%d/", id), names)
	}
	n.ask(o)
	return o
}

// observe looks on until the names are gone, all of which go at once; false if
// that was not seen.
func (n *nodeWorker) observe(ctx context.Context, id uint64) bool {
	for began := time.Now(); time.Since(began) < observeMax; {
		gone := true
		for i := 0; i < nodeNames; i++ {
			gone = n.free(n.look(id)) && gone
		}
		if gone {
			n.linger(id)
			return true
		}
		if !wait(ctx, observeEvery) {
			return false
		}
	}
	return false
}

func (n *nodeWorker) free(o *op) bool {
	if o.Outcome != decided || o.Found {
		return false
	}
	for _, s := range o.Results {
		if s.Found {
			return false
		}
	}
	return true
}

// linger does what a node does that does not know yet that it is dead.
func (n *nodeWorker) linger(id uint64) {
	switch n.rng.Intn(3) {
	case 0:
		n.register(id, n.rng.Intn(nodeNames))
	case 1:
		o := n.about(id, opBeat)
		o.TTL = n.ttl
		n.ask(o)
	}
}
