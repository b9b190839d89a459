// Package progress reports to the terminal of `headway up` what happens.
package progress
