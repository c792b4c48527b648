module wasmhost/guest-sdk/go

go 1.24
