// Package capture copies what containers print from their FIFOs into log files, in
// the format and with the rotation of the kubelet, such that an end of this
// process at any instant neither loses nor repeats anything.
package capture
