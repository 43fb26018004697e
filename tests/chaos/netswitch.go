package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// netswitch is an Ethernet switch in user space. Port 0 is the harness with
// its clients, port i replica i. Because every frame passes through here, all
// that a net can do wrong is a rule in a list, and no kernel module is needed.
type netswitch struct {
	ports []*os.File

	mu    sync.Mutex
	rules []*rule
	rng   *rand.Rand
	stats netstats
}

type netstats struct{ Passed, Dropped, Delayed, Spoiled, Doubled, Reset uint64 }

// rule says what happens to frames of some directed pairs of ports.
type rule struct {
	pairs map[[2]int]bool
	// 0: all frames; else only those to this TCP port, which is one direction
	// of the connections that the sender of the frame opened.
	dport uint16

	drop, reset bool
	loss        float64 // of 1
	double      float64
	spoil       float64
	delay       time.Duration
	jitter      time.Duration // added or taken away, which also reorders
	bytesPerS   int           // 0: no limit

	busyUntil map[[2]int]time.Time
}

const (
	frameBytesMax   = 2048
	etherTypeIP     = 0x0800
	etherTypeARP    = 0x0806
	queueMax        = 500 * time.Millisecond // of a slow link; what does not fit is lost
	ioctlTunSetIff  = 0x400454ca
	tapWithoutExtra = 0x0002 | 0x1000 // IFF_TAP, IFF_NO_PI
)

func macText(port int) string { return fmt.Sprintf("02:00:00:00:77:%02x", port) }

// openTap makes a TAP device. Without offloads, as it begins, the kernel hands
// us whole packets with checksums.
func openTap(name string) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	var request [40]byte // struct ifreq: the name, then the flags
	copy(request[:15], name)
	binary.LittleEndian.PutUint16(request[16:], tapWithoutExtra)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), ioctlTunSetIff,
		uintptr(unsafe.Pointer(&request[0])))
	if errno != 0 {
		syscall.Close(fd)
		return nil, fmt.Errorf("TAP device %s: %w", name, errno)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func newNetswitch(replicas int) *netswitch {
	return &netswitch{ports: make([]*os.File, replicas+1), rng: rand.New(rand.NewSource(1))}
}

func (s *netswitch) seed(seed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rng = rand.New(rand.NewSource(seed))
}

func (s *netswitch) attach(port int, tap *os.File) {
	s.mu.Lock()
	s.ports[port] = tap
	s.mu.Unlock()
	go func() {
		for {
			frame := make([]byte, frameBytesMax)
			n, err := tap.Read(frame)
			if err != nil {
				return
			}
			s.onFrame(port, frame[:n])
		}
	}()
}

func (s *netswitch) close() {
	for _, p := range s.ports {
		if p != nil {
			p.Close()
		}
	}
}

func (s *netswitch) add(r *rule) {
	r.busyUntil = map[[2]int]time.Time{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, r)
}

func (s *netswitch) remove(r *rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.rules {
		if other == r {
			s.rules = append(s.rules[:i], s.rules[i+1:]...)
			return
		}
	}
}

func (s *netswitch) snapshot() netstats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *netswitch) onFrame(from int, frame []byte) {
	if len(frame) < 14 {
		return
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		// Never touched: who is where is not what a net under faults forgets.
		for to := range s.ports {
			if to != from && (frame[0]&1 == 1 || int(frame[5]) == to) {
				s.send(to, frame)
			}
		}
	case etherTypeIP:
		if to := int(frame[5]); frame[0] == 2 && to < len(s.ports) && to != from {
			s.pass(from, to, frame)
		}
	}
}

// fate is what all rules together do to one frame.
type fate struct {
	drop, reset, double, spoil bool
	delay                      time.Duration
}

func (s *netswitch) decide(from, to int, frame []byte) fate {
	var f fate
	pair := [2]int{from, to}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if !r.pairs[pair] || (r.dport != 0 && tcpPort(frame) != r.dport) {
			continue
		}
		f.drop = f.drop || r.drop || s.rng.Float64() < r.loss
		f.reset = f.reset || r.reset
		f.double = f.double || s.rng.Float64() < r.double
		f.spoil = f.spoil || s.rng.Float64() < r.spoil
		f.delay += r.delay
		if r.jitter > 0 {
			f.delay += time.Duration((s.rng.Float64()*2 - 1) * float64(r.jitter))
		}
		if r.bytesPerS > 0 {
			wait, full := r.queue(pair, len(frame))
			f.delay += wait
			f.drop = f.drop || full
		}
	}
	s.count(f)
	if f.spoil && len(frame) > 54 {
		frame[54+s.rng.Intn(len(frame)-54)] ^= 1 << uint(s.rng.Intn(8))
	}
	return f
}

func (s *netswitch) count(f fate) {
	switch {
	case f.reset:
		s.stats.Reset++
		return
	case f.drop:
		s.stats.Dropped++
		return
	}
	s.stats.Passed++
	if f.delay > 0 {
		s.stats.Delayed++
	}
	if f.spoil {
		s.stats.Spoiled++
	}
	if f.double {
		s.stats.Doubled++
	}
}

// queue tells how long a frame waits until the link has sent it.
func (r *rule) queue(pair [2]int, bytes int) (wait time.Duration, full bool) {
	now := time.Now()
	at := r.busyUntil[pair]
	if at.Before(now) {
		at = now
	}
	at = at.Add(time.Duration(bytes) * time.Second / time.Duration(r.bytesPerS))
	if at.Sub(now) > queueMax {
		return 0, true
	}
	r.busyUntil[pair] = at
	return at.Sub(now), false
}

func (s *netswitch) pass(from, to int, frame []byte) {
	f := s.decide(from, to, frame)
	if f.reset {
		if answer := resetFor(frame); answer != nil {
			s.send(from, answer)
			return
		}
	}
	if f.drop || f.reset {
		return
	}
	deliver := func() {
		s.send(to, frame)
		if f.double {
			s.send(to, frame)
		}
	}
	if f.delay > 0 {
		time.AfterFunc(f.delay, deliver)
	} else {
		deliver()
	}
}

func (s *netswitch) send(to int, frame []byte) {
	s.ports[to].Write(frame) // a full device loses frames, as switches do
}

// tcpOffset is where the TCP header begins, 0 for other packets.
func tcpOffset(frame []byte) int {
	if len(frame) < 34 || frame[14]>>4 != 4 || frame[23] != 6 {
		return 0
	}
	at := 14 + int(frame[14]&15)*4
	if len(frame) < at+20 {
		return 0
	}
	return at
}

func tcpPort(frame []byte) uint16 {
	at := tcpOffset(frame)
	if at == 0 {
		return 0
	}
	return binary.BigEndian.Uint16(frame[at+2:])
}

// resetFor answers a TCP packet as a firewall that rejects it would.
func resetFor(frame []byte) []byte {
	const flagFin, flagSyn, flagRst, flagAck = 1, 2, 4, 16
	at := tcpOffset(frame)
	if at == 0 || frame[at+13]&flagRst != 0 {
		return nil
	}
	flags := frame[at+13]
	length := int(binary.BigEndian.Uint16(frame[16:])) - (at - 14) - int(frame[at+12]>>4)*4
	for _, f := range []byte{flagSyn, flagFin} {
		if flags&f != 0 {
			length++
		}
	}
	r := make([]byte, 54)
	copy(r[0:6], frame[6:12])
	copy(r[6:12], frame[0:6])
	copy(r[12:14], frame[12:14])
	r[14], r[22], r[23] = 0x45, 64, 6
	binary.BigEndian.PutUint16(r[16:], 40)
	copy(r[26:30], frame[30:34])
	copy(r[30:34], frame[26:30])
	binary.BigEndian.PutUint16(r[24:], checksum(r[14:34], 0))
	copy(r[34:36], frame[at+2:at+4])
	copy(r[36:38], frame[at:at+2])
	r[46], r[47] = 5<<4, flagRst
	if flags&flagAck != 0 {
		copy(r[38:42], frame[at+8:at+12])
	} else {
		r[47] |= flagAck
		binary.BigEndian.PutUint32(r[42:], binary.BigEndian.Uint32(frame[at+4:])+uint32(length))
	}
	pseudo := uint32(6 + 20)
	for i := 26; i < 34; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(r[i:]))
	}
	binary.BigEndian.PutUint16(r[50:], checksum(r[34:54], pseudo))
	return r
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
