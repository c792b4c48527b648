// Command modulepath gives the module, and the modules below it, another import path.
//
//	modulepath [-root DIR] PATH
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "the module's directory")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: modulepath [-root DIR] PATH") }
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	changed, err := rename(*root, flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "modulepath:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d files changed\n", flag.Arg(0), changed)
}
