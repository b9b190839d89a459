// Package capture copies the output of containers from their FIFOs into log
// files, in the format and with the rotation of the kubelet. If this process
// ends at any instant, nothing is lost or repeated.
package capture
