package abi

// WASIFunctions are the functions of WASI preview 1 with their signatures, a
// letter per parameter (i for i32, I for i64), then a colon and the results.
// The host offers all of them; SPEC.md says what each answers.
var WASIFunctions = map[string]string{
	"args_get": "ii:i", "args_sizes_get": "ii:i", "environ_get": "ii:i", "environ_sizes_get": "ii:i",
	"clock_res_get": "ii:i", "clock_time_get": "iIi:i", "random_get": "ii:i", "sched_yield": ":i",
	"poll_oneoff": "iiii:i", "proc_exit": "i:", "proc_raise": "i:i",
	"fd_advise": "iIIi:i", "fd_allocate": "iII:i", "fd_close": "i:i", "fd_datasync": "i:i", "fd_fdstat_get": "ii:i",
	"fd_fdstat_set_flags": "ii:i", "fd_fdstat_set_rights": "iII:i", "fd_filestat_get": "ii:i",
	"fd_filestat_set_size": "iI:i", "fd_filestat_set_times": "iIIi:i", "fd_pread": "iiiIi:i", "fd_prestat_get": "ii:i",
	"fd_prestat_dir_name": "iii:i", "fd_pwrite": "iiiIi:i", "fd_read": "iiii:i", "fd_readdir": "iiiIi:i",
	"fd_renumber": "ii:i", "fd_seek": "iIii:i", "fd_sync": "i:i", "fd_tell": "ii:i", "fd_write": "iiii:i",
	"path_create_directory": "iii:i", "path_filestat_get": "iiiii:i", "path_filestat_set_times": "iiiiIIi:i",
	"path_link": "iiiiiii:i", "path_open": "iiiiiIIii:i", "path_readlink": "iiiiii:i", "path_remove_directory": "iii:i",
	"path_rename": "iiiiii:i", "path_symlink": "iiiii:i", "path_unlink_file": "iii:i",
	"sock_accept": "iii:i", "sock_recv": "iiiiii:i", "sock_send": "iiiii:i", "sock_shutdown": "ii:i",
}

// HostFunctions are the functions of ImportModule with their signatures, as in
// WASIFunctions.
var HostFunctions = map[string]string{
	ImportEmit: "ii:", ImportFail: "ii:", ImportLog: "iii:",
	ImportEventOrigin: ":I", ImportEventSequence: ":I", ImportEventTime: ":I",
	ImportEventSender: "i:", ImportEventChannel: "ii:i", ImportEventKind: ":i", ImportDaemonID: "i:",
	ImportNow: ":I", ImportRandom: "ii:",
	ImportPublish: "iiii:i", ImportSend: "iii:i", ImportTimer: "Iii:I", ImportTimerCancel: "I:",
	ImportAsk: "iiiI:I", ImportAnswer: "Iii:i", ImportRefuse: "Iii:i", ImportEventCall: ":I", ImportEventStatus: ":i",
}

// exportSignatures are the signatures that exported functions must have.
var exportSignatures = map[string]string{
	ExportMarker: ":", ExportAlloc: "i:i", ExportProcess: "ii:i", ExportInit: "ii:i",
	ExportSnapshot: ":I", ExportRestore: "ii:i", ExportQuery: "ii:I", ExportStateless: ":", ExportInitialize: ":",
}
