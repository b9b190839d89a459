package review

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/wire"
)

// forgeTokenEnv holds the token that comments are written with; without it the
// variable that the forge's own CI has.
const forgeTokenEnv = "HEADWAY_FORGE_TOKEN"

// commentOptions say where a plan is commented.
type commentOptions struct {
	number, kind, repository, address, cluster string
}

func (o *commentOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.number, "comment", "", "write the plan as a comment on this pull request, or edit the existing one; the token is in "+forgeTokenEnv+", or GITHUB_TOKEN, GITLAB_TOKEN or GITEA_TOKEN")
	flags.StringVar(&o.kind, "forge", "", "where the pull request is: "+forge.Kinds+" (default: the source's annotation headway.dev/commit-status)")
	flags.StringVar(&o.repository, "repository", "", "URL of the repository of the pull request (default: the source's)")
	flags.StringVar(&o.address, "forge-address", "", "URL of the forge's API, if it is not the usual one")
	flags.StringVar(&o.cluster, "cluster", "", "name in the comment that distinguishes the plans of several clusters")
}

var lastNumber = regexp.MustCompile(`^(?:#|!|pull/|merge-requests/|refs/pull/|refs/merge-requests/)?([0-9]{1,9})(?:/head|/merge)?$`)

// check refuses what no forge has, before anything is asked.
func (o *commentOptions) check() error {
	if o.number == "" {
		if o.kind+o.repository+o.address+o.cluster != "" {
			return errors.New("--forge, --repository, --forge-address and --cluster need --comment")
		}
		return nil
	}
	if !lastNumber.MatchString(o.number) {
		return fmt.Errorf("--comment %q is not the number of a pull request", o.number)
	}
	if o.kind != "" {
		if _, err := forge.ParseKind(o.kind); err != nil {
			return fmt.Errorf("--forge: %w", err)
		}
	}
	return nil
}

// post writes the comment.
func (o *commentOptions) post(ctx context.Context, plans wire.Plans, log io.Writer) error {
	word := cmp.Or(o.kind, plans.Forge)
	if word == "" {
		return fmt.Errorf("--comment needs --forge: %s", forge.Kinds)
	}
	kind, err := forge.ParseKind(word)
	if err != nil {
		return err
	}
	own := map[forge.Kind]string{forge.GitHub: "GITHUB_TOKEN", forge.GitLab: "GITLAB_TOKEN", forge.Gitea: "GITEA_TOKEN"}[kind]
	token := strings.TrimSpace(cmp.Or(os.Getenv(forgeTokenEnv), os.Getenv(own)))
	if token == "" {
		return fmt.Errorf("--comment needs a token: set %s or %s", forgeTokenEnv, own)
	}
	client, err := forge.New(forge.Config{Kind: kind, Repository: cmp.Or(o.repository, plans.Repository), Address: o.address, Token: token})
	if err != nil {
		return fmt.Errorf("--comment: %w", err)
	}
	defer client.Close()
	n, err := strconv.Atoi(lastNumber.FindStringSubmatch(o.number)[1])
	if err != nil {
		return fmt.Errorf("--comment: %w", err)
	}
	var body strings.Builder
	if o.cluster != "" {
		fmt.Fprintf(&body, "%s\n\n", report.InlineCode(o.cluster))
	}
	report.PlanMarkdown(&body, plans)
	created, err := client.Comment(ctx, n, strings.TrimSpace("headway plan of "+plans.Source+" "+o.cluster), body.String())
	if err != nil {
		return fmt.Errorf("--comment: %w", err)
	}
	did := "edited"
	if created {
		did = "wrote"
	}
	fmt.Fprintf(log, "%s the comment on pull request %d\n", did, n)
	return nil
}
