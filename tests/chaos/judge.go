package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	judgeTimeoutPerRoom = 20 * time.Second
	judgeTimeout        = 120 * time.Second // for all rooms together
	findingsShown       = 12                // of one kind
	drawingsMax         = 3
)

// finding is something that a sound cluster and a sound harness never show.
type finding struct {
	kind string // such as linearizability, revision, death, log
	text string
}

// verdict gathers findings; further ones of a kind are only counted.
type verdict struct {
	findings []finding
	counts   map[string]int
}

func (v *verdict) find(kind, format string, a ...interface{}) {
	if v.counts == nil {
		v.counts = map[string]int{}
	}
	v.counts[kind]++
	if v.counts[kind] <= findingsShown {
		v.findings = append(v.findings, finding{kind, fmt.Sprintf(format, a...)})
	}
}

func (v *verdict) print() {
	for _, f := range v.findings {
		fmt.Printf("chaos: FOUND %s: %s\n", f.kind, f.text)
	}
	for kind, n := range v.counts {
		if n > findingsShown {
			fmt.Printf("chaos: FOUND %s: %d more\n", kind, n-findingsShown)
		}
	}
}

// judge asks everything that the history alone can tell. Pictures of rooms
// that are not linearizable go to dir.
func judge(ops []*op, end ending, dir string) *verdict {
	v := &verdict{}
	judgeRevisions(v, ops, end)
	judgeClaims(v, ops)
	judgeRooms(v, ops, inOrder(end.Unquiet), dir)
	return v
}

// judgeRooms asks porcupine, room by room: a history is linearizable exactly
// if it is so for each object alone (Herlihy and Wing 1990, theorem 1). An object
// is a name, or some that batches or a node tie together.
func judgeRooms(v *verdict, ops []*op, unquiet []span, dir string) {
	rooms := map[string][]*op{}
	for _, o := range ops {
		rooms[o.room()] = append(rooms[o.room()], o)
	}
	keys := make([]string, 0, len(rooms))
	for key := range rooms {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	drawn := 0
	deadline := time.Now().Add(judgeTimeout)
	for _, key := range keys {
		if err := place(rooms[key]); err != nil {
			v.find("harness", "%s: %v", key, err)
			continue
		}
		all := leases(rooms[key], unquiet)
		plain := linearize(rooms[key])
		history := withExpiries(plain, all, false, false)
		result := porcupine.Unknown
		if time.Now().Before(deadline) {
			result = porcupine.CheckOperationsTimeout(model, history, judgeTimeoutPerRoom)
		}
		switch result {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			v.find("undecided", "%s: no verdict on %d operations in time", key, len(history))
			continue
		}
		picture := "no picture"
		if dir != "" && drawn < drawingsMax {
			drawn++
			picture = draw(history, filepath.Join(dir, fmt.Sprintf("violation-%d.html", drawn)))
		}
		kind, text := blame(plain, all)
		v.find(kind, "%s: of %d operations: %s; %s", key, len(history), text, picture)
	}
}

func draw(history []porcupine.Operation, path string) string {
	_, info := porcupine.CheckOperationsVerbose(model, history, judgeTimeoutPerRoom)
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		return err.Error()
	}
	return path
}

// judgeFile judges the history of an earlier run again.
func judgeFile(path string) int {
	ops, end, err := loadHistory(path)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		return exitUsage
	}
	v := judge(ops, end, filepath.Dir(path))
	v.print()
	fmt.Printf("chaos: %d operations, %d findings\n", len(ops), len(v.findings))
	if len(v.findings) > 0 {
		return exitFail
	}
	return exitPass
}
