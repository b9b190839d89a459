package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/report"
	"headway.dev/engine"
)

func newSecrets(opts *cli.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Work with the encryption of Secrets in the store",
		Args:  cli.CommandsOnly,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSecretsRotate(opts))
	return cmd
}

// rotated is the outcome of a rotation.
type rotated struct {
	// Key is the id of the new key; empty if an EncryptionConfiguration says how
	// Secrets are encrypted.
	Key string `json:"key,omitempty"`
	// Records is how many records of the store were looked at.
	Records int `json:"records"`
	// Offline is true if no server was running.
	Offline bool `json:"offline,omitempty"`
}

func newSecretsRotate(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var providers string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Encrypt the Secrets in the store with a new key",
		Long: `Rotate makes a new key in <data-dir>/pki/secrets.key, encrypts all Secrets in the
store with it, writes the store's file anew, so that nothing in it is of the old key,
and only then removes the old key. Objects do not change, and nobody sees an event.
Where an EncryptionConfiguration (--encryption-provider-config of headway up) says how
something is encrypted, rotate reads that file again, and encrypts all as it says.

With a running server the server does it, and other writes wait while the file is
copied at the end. The rotation goes on if this command is interrupted. Without a
server the command works on the data directory itself, as root.

A rotation that is cut off, by a crash too, loses nothing: the key file has both keys
until the end, and the next start of the server completes it.

Exit code 0: all is encrypted with the new key. 1: something failed; what was
encrypted with the old key is still readable.`,
		Example: "  headway secrets rotate\n  headway secrets rotate --data-dir /srv/headway",
		Args:    cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := rotation{opts: opts, began: time.Now()}
			offline, err := r.run(cmd.Context(), providers)
			if err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, rotated{Key: r.last.Key, Records: r.last.Total, Offline: offline})
			}
			how := "are encrypted with the new key " + r.last.Key + "; the old one is retired"
			if r.last.Key == "" {
				how = "are encrypted as the EncryptionConfiguration says"
			}
			_, err = fmt.Fprintf(opts.Out, "the Secrets in the store (of %d records) %s\n", r.last.Total, how)
			return err
		},
	}
	cmd.Flags().StringVar(&providers, "encryption-provider-config", "", "the file given to headway up, if no server is running")
	format.Register(cmd)
	return cmd
}

// rotation follows one.
type rotation struct {
	opts        *cli.Options
	began, told time.Time
	last        engine.Rotation
}

// run rotates the key, in the data directory if that is at hand and no server
// uses it.
func (r *rotation) run(ctx context.Context, providers string) (offline bool, err error) {
	dir, err := filepath.Abs(r.opts.DataDir)
	if err != nil {
		return false, fmt.Errorf("--data-dir: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, engine.StoreFile)); err == nil && r.opts.FindKubeconfig() == filepath.Join(r.opts.DataDir, "kubeconfig") {
		unlock, err := datadir.Lock(dir)
		if err == nil {
			defer unlock()
			log := slog.New(slog.NewTextHandler(r.opts.Err, &slog.HandlerOptions{Level: slog.LevelError}))
			if err := engine.RotateOffline(ctx, dir, providers, log, r.tell); err != nil {
				return true, err
			}
			return true, r.outcome()
		}
		if !errors.Is(err, datadir.ErrInUse) {
			return false, err
		}
	}
	if providers != "" {
		return false, errors.New("--encryption-provider-config is for when no server is running: a running one reads the file that it was started with")
	}
	return false, r.ask(ctx)
}

// ask has the server do it.
func (r *rotation) ask(ctx context.Context) error {
	client, err := r.opts.Client()
	if err != nil {
		return err
	}
	answer, err := client.Open(ctx, http.MethodPost, engine.RotatePath, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	for lines := json.NewDecoder(answer); ; {
		var p engine.Rotation
		switch err := lines.Decode(&p); {
		case errors.Is(err, io.EOF):
			return r.outcome()
		case err != nil:
			return fmt.Errorf("the server's answer ended: %w; it goes on with the rotation, or completes it at its next start", err)
		}
		r.tell(p)
	}
}

// tell notes how far it has come, and says so every second.
func (r *rotation) tell(p engine.Rotation) {
	r.last = p
	now := time.Now()
	if p.Finished || p.Error != "" || now.Sub(r.began) < time.Second || now.Sub(r.told) < time.Second {
		return
	}
	r.told = now
	fmt.Fprintf(r.opts.Err, "encrypted %d of %d records\n", p.Done, p.Total)
}

func (r *rotation) outcome() error {
	if r.last.Finished {
		return nil
	}
	if r.last.Error == "" {
		return errors.New("the rotation did not end: the server completes it at its next start, and so does this command if it is given again")
	}
	return fmt.Errorf("%s; all can still be read: solve that, and run `headway secrets rotate` again", r.last.Error)
}
