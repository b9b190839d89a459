package main

import (
	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/member"
	"headway.dev/examples/web/serve"
)

// newExampleWeb is what the example's pods run.
func newExampleWeb() *cobra.Command {
	return &cobra.Command{
		Use: member.ExampleCommand, Short: "Run the example's web program", Hidden: true, Args: cli.Takes(0, 0),
		RunE: func(*cobra.Command, []string) error { return serve.Run(member.ExampleVersion) },
	}
}
