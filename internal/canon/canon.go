// Package canon is the one encoding of everything that is signed, hashed,
// stored or sent: core deterministic CBOR (RFC 8949, section 4.2.1). Its
// decoder takes exactly what its encoder writes, so that a value has one form
// and a form has one value.
//
// Go values map to CBOR as in github.com/fxamacker/cbor/v2. There are no tags,
// and of the simple values only false and true: null would be another form of
// whatever a field's zero value is, so that no field may be a nil pointer. A
// [N]byte field needs a type with MarshalBinary and UnmarshalBinary, which
// checks the length.
package canon

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Bounds of every decoded item.
const (
	MaxDepth    = 16      // arrays and maps inside one another
	MaxElements = 1 << 17 // elements of one array or map: fields may be much larger in memory than on the wire
)

var (
	encoder cbor.EncMode
	decoder cbor.DecMode
)

func init() {
	eo := cbor.CoreDetEncOptions()
	eo.NilContainers = cbor.NilContainerAsEmpty
	eo.TagsMd = cbor.TagsForbidden
	var err error
	if encoder, err = eo.EncMode(); err != nil {
		panic(err)
	}

	decoder, err = cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   MaxDepth,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxElements,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()

	if err != nil {
		panic(err)
	}
}

// Marshal returns v's canonical bytes, which are the caller's.
func Marshal(v any) ([]byte, error) {
	b, err := encoder.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a %T as CBOR: %w", v, err)
	}
	return b, nil
}

// Append appends v's canonical bytes to dst.
func Append(dst []byte, v any) ([]byte, error) {
	b, err := Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

// Unmarshal decodes data, which must be one canonical item and nothing more,
// into v, which does not alias data afterwards. It allocates nothing for a
// length that data does not hold. An error of form is an *Error; one of
// content, such as an unknown field, wraps ErrContent.
func Unmarshal(data []byte, v any) error {
	if err := Check(data); err != nil {
		return err
	}
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}

	// The decoder takes an array of small numbers for a byte string, and more
	// of the kind.
	again, err := encoder.Marshal(v)
	if err != nil || !bytes.Equal(again, data) {
		return fmt.Errorf("%w: a field is of another type than a %T has there", ErrContent, v)
	}
	return nil
}
