module wasmhost.example/guest-sdk/go

go 1.24
