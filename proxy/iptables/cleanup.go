package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"headway.dev/proxy/service"
)

func cleanup(ctx context.Context, family service.Family) error {
	ipt, err := goiptables.NewWithProtocol(protocol(family))
	if err != nil {
		return fmt.Errorf("find %s: %w", program(family, ""), err)
	}
	have, err := kernelChains(ctx, family)
	if err != nil {
		return err
	}
	var errs []error
	for _, table := range tables {
		var ours []string
		for id := range have {
			if id.table == table {
				ours = append(ours, id.name)
			}
		}
		if len(ours) == 0 {
			continue
		}
		for _, chain := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
			if exists, err := ipt.ChainExists(table, chain); err != nil || !exists {
				continue // nat has no FORWARD, filter no PREROUTING
			}
			listed, err := ipt.List(table, chain)
			errs = append(errs, err)
			for i := len(listed) - 1; i > 0; i-- { // 0 is the policy
				if strings.Contains(listed[i], "-j "+Prefix) {
					errs = append(errs, ipt.DeleteById(table, chain, i))
				}
			}
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "*%s\n", table)
		slices.Sort(ours)
		for _, name := range ours {
			fmt.Fprintf(&b, ":%s - [0:0]\n", name)
		}
		for _, name := range ours {
			fmt.Fprintf(&b, "-X %s\n", name)
		}
		b.WriteString("COMMIT\n")
		_, err := run(ctx, b.Bytes(), program(family, "-restore"), "--noflush", "-w", "5")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
