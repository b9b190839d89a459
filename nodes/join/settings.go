package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/loop"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/wait"
)

// settingsFile keeps what the server told last.
const settingsFile = "node-config.json"

// askAgain is how long to wait for a server that does not answer.
var askAgain = loop.Backoff{First: time.Second, Last: 15 * time.Second, Spread: 0.2}

// Settings asks the server what nodes are configured by. While it does not answer, what
// it told a former run holds; a machine that never heard of it waits.
func (n *Node) Settings(ctx context.Context) (nodeconfig.Config, error) {
	client, err := kubernetes.NewForConfig(n.Config())
	if err != nil {
		return nodeconfig.Config{}, err
	}
	path := filepath.Join(n.cfg.Dir, settingsFile)
	for failures := 0; ; failures++ {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		cm, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ask, nodeconfig.Name, metav1.GetOptions{})
		cancel()
		if err == nil {
			settings, err := nodeconfig.Parse(cm.Data)
			if err == nil {
				err = keep(path, cm.Data)
			}
			return settings, err
		}
		n.cfg.Log.Warn("cannot ask the server how nodes are configured", "err", err)
		if known, err := kept(path); err == nil {
			return known, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nodeconfig.Config{}, err
		}
		if !wait.Sleep(ctx, askAgain.After(failures)) {
			return nodeconfig.Config{}, ctx.Err()
		}
	}
}

func keep(path string, data map[string]string) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if err := writeFile(path, encoded); err != nil {
		return fmt.Errorf("keep how nodes are configured: %w", err)
	}
	return nil
}

func kept(path string) (nodeconfig.Config, error) {
	encoded, err := os.ReadFile(path)
	if err != nil {
		return nodeconfig.Config{}, err
	}
	var data map[string]string
	if err := json.Unmarshal(encoded, &data); err != nil {
		return nodeconfig.Config{}, fmt.Errorf("read %s: %w", path, err)
	}
	return nodeconfig.Parse(data)
}
