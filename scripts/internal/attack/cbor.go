package main

import "encoding/binary"

// The attacks' own encoder of CBOR (RFC 8949), which writes whatever it is asked to.

func head(major byte, n uint64) []byte {
	switch {
	case n < 24:
		return []byte{major<<5 | byte(n)}
	case n < 1<<8:
		return []byte{major<<5 | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major<<5 | 25}, uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
	}
	return binary.BigEndian.AppendUint64([]byte{major<<5 | 27}, n)
}

func cborUint(n uint64) []byte  { return head(0, n) }
func cborBytes(b []byte) []byte { return append(head(2, uint64(len(b))), b...) }
func cborText(s string) []byte  { return append(head(3, uint64(len(s))), s...) }

func cborBool(b bool) []byte {
	if b {
		return []byte{0xf5}
	}
	return []byte{0xf4}
}

func cborList(items ...[]byte) []byte { return append(head(4, uint64(len(items))), join(items...)...) }

// cborMap takes keys and values in turn, the keys in order.
func cborMap(items ...[]byte) []byte { return append(head(5, uint64(len(items)/2)), join(items...)...) }

// frame is a message behind its length, as all of them travel.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// cborOf encodes what a generic decoder made of an item.
func cborOf(v any) []byte {
	switch v := v.(type) {
	case uint64:
		return cborUint(v)
	case int64:
		if v < 0 {
			return head(1, uint64(-1-v))
		}
		return cborUint(uint64(v))
	case []byte:
		return cborBytes(v)
	case string:
		return cborText(v)
	case bool:
		return cborBool(v)
	case []any:
		var items [][]byte
		for _, e := range v {
			items = append(items, cborOf(e))
		}
		return cborList(items...)
	case map[any]any:
		if len(v) > 0 {
			panic("a map with entries has an order, which this encoder does not know")
		}
		return cborMap()
	}
	panic("no item of this form is sent")
}
