package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// Error numbers of WASI preview 1.
const (
	errnoSuccess = 0
	errnoBadF    = 8
	errnoFault   = 21
	errnoInval   = 28
	errnoNoSys   = 52
)

// tick is how far a call's clock moves each time that it is read, so that a
// guest that waits for time to pass does not wait for ever.
const tick = 1_000_000 // nanoseconds

// errExit ends a call by proc_exit.
var errExit = errors.New("proc_exit")

// wasiFunctions answer abi.WASIFunctions: clock, randomness and the standard
// streams; no files, sockets, arguments or environment.
func wasiFunctions() map[string]hostFunction {
	f := make(map[string]hostFunction, len(abi.WASIFunctions))
	for name := range abi.WASIFunctions {
		errno := uint64(errnoNoSys)
		if len(name) > 3 && (name[:3] == "fd_" || name[:5] == "sock_" || name[:5] == "path_") {
			errno = errnoBadF // there are no descriptors but the standard streams
		}
		f[name] = func(_ *instance, _ api.Module, s []uint64) { s[0] = errno }
	}
	f["args_sizes_get"], f["environ_sizes_get"] = wasiArgumentSizes, wasiNone
	f["args_get"] = wasiArguments
	f["environ_get"] = func(_ *instance, _ api.Module, s []uint64) { s[0] = errnoSuccess }
	f["sched_yield"], f["fd_read"], f["fd_close"] = f["environ_get"], wasiRead, wasiClose
	f["clock_time_get"] = wasiClockTime
	f["clock_res_get"] = func(_ *instance, m api.Module, s []uint64) {
		s[0] = put64(m, uint32(s[1]), tick)
	}
	f["random_get"] = func(i *instance, m api.Module, s []uint64) {
		b, ok := m.Memory().Read(uint32(s[0]), uint32(s[1]))
		if !ok {
			s[0] = errnoFault
			return
		}
		i.spend(uint64(len(b)))
		i.fillRandom(b)
		s[0] = errnoSuccess
	}
	f["fd_write"] = wasiWrite
	f["fd_fdstat_get"] = wasiFdstat
	f["poll_oneoff"] = wasiPoll
	f["proc_exit"] = func(i *instance, _ api.Module, s []uint64) {
		i.call.exited, i.call.exitCode = true, int32(s[0])
		panic(errExit)
	}
	return f
}

func put64(m api.Module, ptr uint32, v uint64) uint64 {
	if !m.Memory().WriteUint64Le(ptr, v) {
		return errnoFault
	}
	return errnoSuccess
}

func wasiNone(_ *instance, m api.Module, s []uint64) {
	if !m.Memory().WriteUint32Le(uint32(s[0]), 0) || !m.Memory().WriteUint32Le(uint32(s[1]), 0) {
		s[0] = errnoFault
		return
	}
	s[0] = errnoSuccess
}

// time returns the call's clock, Unix nanoseconds, and moves it on.
func (i *instance) time() uint64 {
	i.call.clock += tick
	return uint64(max(i.call.ev.Time, 1) + i.call.clock)
}

func wasiClockTime(i *instance, m api.Module, s []uint64) {
	if uint32(s[0]) > 3 {
		s[0] = errnoInval
		return
	}
	s[0] = put64(m, uint32(s[2]), i.time())
}

func wasiFdstat(i *instance, m api.Module, s []uint64) {
	if uint32(s[0]) > 2 {
		s[0] = errnoBadF
		return
	}
	b, ok := m.Memory().Read(uint32(s[1]), 24)
	if !ok {
		s[0] = errnoFault
		return
	}
	clear(b)
	b[0] = 2                   // a character device
	rights := uint64(1<<6 | 1) // fd_write, fd_datasync
	if uint32(s[0]) == 0 && i.module.command() {
		rights = 1 << 1 // fd_read
	}
	binary.LittleEndian.PutUint64(b[8:], rights)
	s[0] = errnoSuccess
}

// wasiRead gives a program its input. Others have none to read.
func wasiRead(i *instance, m api.Module, s []uint64) {
	if uint32(s[0]) != 0 || !i.module.command() {
		s[0] = errnoBadF
		return
	}
	i.spend(8 * uint64(uint32(s[2])))
	mem, iovs, total := m.Memory(), uint32(s[1]), uint32(0)
	for n := uint32(s[2]); n > 0; n-- {
		ptr, ok1 := mem.ReadUint32Le(iovs)
		size, ok2 := mem.ReadUint32Le(iovs + 4)
		b, ok3 := mem.Read(ptr, size)
		if !ok1 || !ok2 || !ok3 {
			s[0] = errnoFault
			return
		}
		k := copy(b, i.call.input)
		i.spend(uint64(k))
		i.call.input = i.call.input[k:]
		iovs, total = iovs+8, total+uint32(k)
	}
	if !mem.WriteUint32Le(uint32(s[3]), total) {
		s[0] = errnoFault
		return
	}
	s[0] = errnoSuccess
}

// wasiClose lets a program close its streams, as many do at their end.
func wasiClose(i *instance, _ api.Module, s []uint64) {
	if uint32(s[0]) > 2 || !i.module.command() {
		s[0] = errnoBadF
		return
	}
	s[0] = errnoSuccess
}

func wasiArgumentSizes(i *instance, m api.Module, s []uint64) {
	size := 0
	for _, a := range i.bound.arguments {
		size += len(a) + 1
	}
	if !m.Memory().WriteUint32Le(uint32(s[0]), uint32(len(i.bound.arguments))) || !m.Memory().WriteUint32Le(uint32(s[1]), uint32(size)) {
		s[0] = errnoFault
		return
	}
	s[0] = errnoSuccess
}

func wasiArguments(i *instance, m api.Module, s []uint64) {
	list, at := uint32(s[0]), uint32(s[1])
	for _, a := range i.bound.arguments {
		i.spend(uint64(len(a)))
		if !m.Memory().WriteUint32Le(list, at) || !m.Memory().Write(at, append([]byte(a), 0)) {
			s[0] = errnoFault
			return
		}
		list, at = list+4, at+uint32(len(a))+1
	}
	s[0] = errnoSuccess
}

// wasiWrite sends whole lines of the standard streams to the daemon's log.
func wasiWrite(i *instance, m api.Module, s []uint64) {
	if fd := uint32(s[0]); fd != 1 && fd != 2 {
		s[0] = errnoBadF
		return
	}
	i.spend(8 * uint64(uint32(s[2])))
	mem, iovs, total := m.Memory(), uint32(s[1]), uint32(0)
	for n := uint32(s[2]); n > 0; n-- {
		ptr, ok1 := mem.ReadUint32Le(iovs)
		size, ok2 := mem.ReadUint32Le(iovs + 4)
		b, ok3 := mem.Read(ptr, size)
		if !ok1 || !ok2 || !ok3 {
			s[0] = errnoFault
			return
		}
		i.spend(uint64(size))
		if uint32(s[0]) == 1 && i.module.command() {
			i.write(b)
		} else {
			i.stream(int(uint32(s[0]))-1, b)
		}
		iovs, total = iovs+8, total+size
	}
	if !mem.WriteUint32Le(uint32(s[3]), total) {
		s[0] = errnoFault
		return
	}
	s[0] = errnoSuccess
}

func (i *instance) stream(which int, b []byte) {
	level := [2]int{abi.LogInfo, abi.LogError}[which]
	rest := &i.call.partial[which]
	for {
		line, more, found := bytes.Cut(b, []byte{'\n'})
		if room := maxText - len(*rest); room > 0 {
			*rest = append(*rest, line[:min(len(line), room)]...)
		}
		if !found {
			return
		}
		if text := clip(*rest); text != "" {
			first := i.call.lastError
			i.log(level, text)
			if which == 1 && first != "" { // a panic's first line says most
				i.call.lastError = first
			}
		}
		*rest, b = (*rest)[:0], more
	}
}

// wasiPoll answers every subscription at once: clocks by moving the call's
// clock on, anything else as a bad descriptor.
func wasiPoll(i *instance, m api.Module, s []uint64) {
	mem, in, out, n := m.Memory(), uint32(s[0]), uint32(s[1]), uint32(s[2])
	if n == 0 {
		s[0] = errnoInval
		return
	}
	i.spend(80 * uint64(n))
	for k := range n {
		sub, ok1 := mem.Read(in+48*k, 48)
		event, ok2 := mem.Read(out+32*k, 32)
		if !ok1 || !ok2 {
			s[0] = errnoFault
			return
		}
		data, kind := [8]byte(sub[:8]), sub[8]
		errno := uint16(errnoBadF)
		if kind == 0 {
			errno = errnoSuccess
			i.sleep(binary.LittleEndian.Uint64(sub[24:]), sub[40]&1 != 0)
		}
		clear(event)
		copy(event, data[:])
		binary.LittleEndian.PutUint16(event[8:], errno)
		event[10] = kind
	}
	if !mem.WriteUint32Le(uint32(s[3]), n) {
		s[0] = errnoFault
		return
	}
	s[0] = errnoSuccess
}

// maxSleep bounds how far one call can move its own clock at a time.
const maxSleep = 365 * 24 * 3600 * 1_000_000_000

func (i *instance) sleep(until uint64, absolute bool) {
	now := uint64(max(i.call.ev.Time, 1) + i.call.clock)
	d := until
	if absolute {
		d = 0
		if until > now {
			d = until - now
		}
	}
	i.call.clock += int64(min(d, maxSleep))
}
