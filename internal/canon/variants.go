package canon

import "reflect"

// Variants makes the messages of a protocol, or the records of a file, by the byte that
// says which one comes. It is filled once and then safe for concurrent use.
type Variants[T any] struct{ types [256]reflect.Type }

// VariantsOf returns the variants that all are pointers to structs, each under the byte
// that kind says of it. It panics where two have the same.
func VariantsOf[T any](kind func(T) byte, all ...T) *Variants[T] {
	v := new(Variants[T])
	for _, one := range all {
		at := &v.types[kind(one)]
		if *at != nil {
			panic("canon: " + reflect.TypeOf(one).String() + " has the kind of " + (*at).String())
		}
		*at = reflect.TypeOf(one).Elem()
	}

	return v
}

// New returns a new zero variant of the kind, which is the caller's; false where there
// is none.
func (v *Variants[T]) New(kind byte) (one T, ok bool) {
	t := v.types[kind]
	if t == nil {
		return one, false
	}
	return reflect.New(t).Interface().(T), true
}
