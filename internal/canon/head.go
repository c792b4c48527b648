package canon

import "encoding/binary"

// AppendHead appends the head of a CBOR item (RFC 8949, section 3) in its shortest
// form, for encoders that are on a hot path: its major type, 0 to 7, and its
// argument.
func AppendHead(dst []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(dst, m|byte(n))
	case n < 1<<8:
		return append(dst, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, m|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, m|27), n)
	}
}

// CutBytes reads a byte string at the beginning of b, for decoders that are on a
// hot path, and returns its content and what follows it, which alias b. Every
// error is an *Error, whose Offset counts from b.
func CutBytes(b []byte) (content, rest []byte, err error) {
	s := scanner{data: b}
	major, _, n, reason := s.head()
	if reason == nil && major != 2 {
		return nil, nil, &Error{ErrContent, 0}
	}
	if reason == nil && n > uint64(len(b)-s.pos) {
		reason = ErrTruncated
	}

	if reason != nil {
		return nil, nil, &Error{reason, 0}
	}

	end := s.pos + int(n)
	return b[s.pos:end:end], b[end:], nil
}
