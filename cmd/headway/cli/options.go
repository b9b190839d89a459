package cli

import (
	"io"

	"github.com/spf13/pflag"
)

// Options are the flags that every command has.
type Options struct {
	// Version is that of the program.
	Version    string
	DataDir    string
	Kubeconfig string
	In         io.Reader
	Out, Err   io.Writer
	// Flags reports which flags were given; nil if none was.
	Flags *pflag.FlagSet
}

// dataDirGiven reports whether the command line has --data-dir.
func (o *Options) dataDirGiven() bool { return o.Flags != nil && o.Flags.Changed("data-dir") }
