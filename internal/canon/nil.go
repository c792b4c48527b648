package canon

// OrNil returns b, or nil where it is empty: bytes that are not there have one form.
func OrNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
