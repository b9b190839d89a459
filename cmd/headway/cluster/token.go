package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	"k8s.io/cluster-bootstrap/util/secrets"

	"headway.dev/cmd/headway/cli"
	"headway.dev/engine/rbac"
	"headway.dev/nodes/join"
)

// tokenLife is how long a token is valid by default, as kubeadm's.
const tokenLife = 24 * time.Hour

// NewToken makes the command token.
func NewToken(opts *cli.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and delete the tokens that machines join by",
		Long: `A token lets machines join the cluster with ` + "`headway agent`" + `. It is a Secret of the
type bootstrap.kubernetes.io/token in kube-system, as kubeadm's are, and is deleted
when it expires. Anyone who has one can add nodes under names that are not taken.`,
		Args: cli.CommandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(opts), newTokenList(opts), newTokenDelete(opts))
	return cmd
}

func tokenClient(opts *cli.Options) (kubernetes.Interface, error) {
	config, err := opts.Config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func newTokenCreate(opts *cli.Options) *cobra.Command {
	var life time.Duration
	var description, output string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token, and print the command that joins a machine",
		Long: `Create makes a token and prints the command to run on the machine that is to join.
With -o json it prints the parts of the command.

Exit code 0: it was made. 1: something failed.`,
		Example: `  headway token create
  headway token create --ttl 1h --description "rack 7"
  ssh node-2 sudo "$(headway token create --ttl 10m)"`,
		Args: cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if life < 0 {
				return fmt.Errorf("--ttl %s is in the past: give 0 for a token that does not expire", life)
			}
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q: only json", output)
			}
			made, err := createToken(cmd.Context(), opts, life, description)
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(opts.Out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(made)
			}
			fmt.Fprintf(opts.Out, "headway agent --server %s --token %s --ca-hash %s\n", made.Server, made.Token, made.CAHash)
			return nil
		},
	}
	cmd.Flags().DurationVar(&life, "ttl", tokenLife, "how long the token is valid (0: for ever)")
	cmd.Flags().StringVar(&description, "description", "", "what the token is for")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json")
	return cmd
}

// newMember is what a machine needs to join.
type newMember struct {
	Server  string       `json:"server"`
	Token   string       `json:"token"`
	CAHash  string       `json:"caHash"`
	Expires *metav1.Time `json:"expires,omitempty"`
}

func createToken(ctx context.Context, opts *cli.Options, life time.Duration, description string) (newMember, error) {
	client, err := tokenClient(opts)
	if err != nil {
		return newMember{}, err
	}
	info, err := client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, bootstrapapi.ConfigMapClusterInfo, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return newMember{}, errors.New("no other machine can reach the API: the server listens on this machine's loopback alone; start it with --listen 0.0.0.0:6443, or with an address that the others reach")
	}
	if err != nil {
		return newMember{}, err
	}
	config, err := clientcmd.Load([]byte(info.Data[bootstrapapi.KubeConfigKey]))
	if err != nil {
		return newMember{}, fmt.Errorf("read ConfigMap %s of %s: %w", info.Name, info.Namespace, err)
	}
	var made newMember
	for _, cluster := range config.Clusters {
		made.Server = cluster.Server
		if made.CAHash, err = join.Hash(cluster.CertificateAuthorityData); err != nil {
			return newMember{}, err
		}
	}
	if made.Server == "" {
		return newMember{}, fmt.Errorf("ConfigMap %s of %s tells no server", info.Name, info.Namespace)
	}
	if made.Token, err = bootstraputil.GenerateBootstrapToken(); err != nil {
		return newMember{}, err
	}
	id, secret, _ := strings.Cut(made.Token, ".")
	data := map[string]string{
		bootstrapapi.BootstrapTokenIDKey: id, bootstrapapi.BootstrapTokenSecretKey: secret,
		bootstrapapi.BootstrapTokenUsageAuthentication: "true", bootstrapapi.BootstrapTokenUsageSigningKey: "true",
		bootstrapapi.BootstrapTokenExtraGroupsKey: rbac.Joining,
	}
	if description != "" {
		data[bootstrapapi.BootstrapTokenDescriptionKey] = description
	}
	if life > 0 {
		made.Expires = new(metav1.NewTime(time.Now().Add(life).UTC().Truncate(time.Second)))
		data[bootstrapapi.BootstrapTokenExpirationKey] = made.Expires.Format(time.RFC3339)
	}
	_, err = client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: bootstraputil.BootstrapTokenSecretName(id)}, Type: bootstrapapi.SecretTypeBootstrapToken, StringData: data,
	}, metav1.CreateOptions{})
	return made, err
}

func newTokenList(opts *cli.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secret halves",
		Args:  cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := tokenClient(opts)
			if err != nil {
				return err
			}
			list, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(cmd.Context(), metav1.ListOptions{FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken)})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(opts.Out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "ID\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION")
			for i := range list.Items {
				fmt.Fprintln(w, tokenLine(&list.Items[i], time.Now()))
			}
			return w.Flush()
		},
	}
}

func tokenLine(s *corev1.Secret, now time.Time) string {
	var usages []string
	for _, usage := range []string{"authentication", "signing"} {
		if secrets.GetData(s, bootstrapapi.BootstrapTokenUsagePrefix+usage) == "true" {
			usages = append(usages, usage)
		}
	}
	ttl, expires := "<forever>", "<never>"
	if text := secrets.GetData(s, bootstrapapi.BootstrapTokenExpirationKey); text != "" {
		ttl, expires = "<invalid>", text
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			ttl = duration.ShortHumanDuration(at.Sub(now))
		}
	}
	description := secrets.GetData(s, bootstrapapi.BootstrapTokenDescriptionKey)
	if description == "" {
		description = "<none>"
	}
	return strings.Join([]string{secrets.GetData(s, bootstrapapi.BootstrapTokenIDKey), ttl, expires, strings.Join(usages, ","), description}, "\t")
}

func newTokenDelete(opts *cli.Options) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a token: no machine joins by it any more",
		Long:    "Delete deletes a token, by its first half or the whole of it. Machines that have joined stay.",
		Example: "  headway token delete abcdef",
		Args:    cli.Takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, _, _ := strings.Cut(args[0], ".")
			if !bootstraputil.IsValidBootstrapTokenID(id) {
				return errors.New("a token's ID has six letters and digits: see `headway token list`")
			}
			client, err := tokenClient(opts)
			if err != nil {
				return err
			}
			if err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(cmd.Context(), bootstraputil.BootstrapTokenSecretName(id), metav1.DeleteOptions{}); err != nil {
				return err
			}
			fmt.Fprintf(opts.Out, "bootstrap token %q deleted\n", id)
			return nil
		},
	}
}
