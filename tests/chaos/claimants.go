package main

import (
	"context"
	"fmt"
	"time"
)

const (
	claimants       = 4
	claimTTLMs      = 1000 // the least
	claimWaitMaxSec = 2
	claimThinkMax   = 40 * time.Millisecond
)

// A claimed name is one at a time in each environment: those who claim it
// compete.
func claimName(generation int, env uint64) string {
	return fmt.Sprintf("chaos::Claim/%d/once<%d>", generation, env)
}

// compete gets or spawns: claims a name, does something with the claim if it
// gets one, and lets a registered process go after a while.
func (w *worker) compete(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		env := uint64(1 + w.rng.Intn(2))
		o := &op{Client: w.id, Replica: w.anyReplica(), Kind: opClaim, Env: env,
			Name: claimName(w.run.generation(), env), New: holder{Node: uint64(w.id)},
			TTL: claimTTLMs, Wait: w.rng.Intn(claimWaitMaxSec + 1)}
		if w.percent(keyPercent) {
			w.ownKey(o)
		}
		w.ask(o)
		switch {
		case o.Outcome == decided && o.Claim != "":
			w.spawn(ctx, o)
		case o.Outcome == decided && o.Found:
			w.meet(ctx, o)
		}
		wait(ctx, time.Duration(w.rng.Int63n(int64(claimThinkMax))))
	}
}

// spawn does what a runtime does that was told to: mostly what it should.
func (w *worker) spawn(ctx context.Context, o *op) {
	end := &op{Client: w.id, Replica: w.anyReplica(), Env: o.Env, Name: o.Name, Ticket: o.Claim,
		New: holder{Node: uint64(w.id)}}
	end.Kind, end.New.Process = opConfirm, nextProcess()
	if w.percent(keyPercent) {
		w.ownKey(end)
	}
	switch dice := w.rng.Intn(10); {
	case dice < 5: // at once
	case dice < 6: // about when the claim ends
		wait(ctx, claimTTLMs*time.Millisecond*time.Duration(8+w.rng.Intn(10))/10)
	case dice < 8:
		end.Kind, end.New = opAbort, holder{}
	default: // dies
		return
	}
	w.ask(end)
}

// meet is somebody who finds the name registered.
func (w *worker) meet(ctx context.Context, o *op) {
	wait(ctx, time.Duration(w.rng.Int63n(int64(claimThinkMax))))
	next := &op{Client: w.id, Replica: w.anyReplica(), Env: o.Env, Name: o.Name}
	w.chooseKind(next, []kind{opGet, opPut, opPutAbsent, opRemove, opRemove, opRemove})
	w.ask(next)
}
