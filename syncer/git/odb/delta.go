package odb

import (
	"bufio"
	"io"
)

// applyDelta reads a delta, and writes to the writer that start returns what
// it makes of the base. start is called once, with the result's size.
func applyDelta(delta *bufio.Reader, base io.ReaderAt, baseSize int64, start func(size int64) (io.Writer, error)) error {
	from, err := readVarint(delta)
	if err != nil {
		return err
	}
	if from != baseSize {
		return corrupt("a delta is for a base of %d bytes, not of %d", from, baseSize)
	}
	size, err := readVarint(delta)
	if err != nil {
		return err
	}
	w, err := start(size)
	if err != nil {
		return err
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for left := size; ; {
		op, err := delta.ReadByte()
		if err == io.EOF && left == 0 { //nolint:errorlint // bufio returns it as it is
			return nil
		}
		if err != nil {
			return unexpected(err)
		}
		var n int64
		var src io.Reader
		switch {
		case op&0x80 != 0:
			offset, count, err := readCopy(delta, op)
			if err != nil {
				return err
			}
			if offset+count > baseSize {
				return corrupt("a delta copies from beyond its base")
			}
			n, src = count, io.NewSectionReader(base, offset, count)
		case op != 0:
			n, src = int64(op), io.LimitReader(delta, int64(op))
		default:
			return corrupt("a delta has a reserved instruction")
		}
		if left -= n; left < 0 {
			return corrupt("a delta makes more than it says")
		}
		// Only Read and Write: ReadFrom of some writers would allocate.
		m, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, *buf)
		if err != nil {
			return err
		}
		if m < n {
			return io.ErrUnexpectedEOF
		}
	}
}

// readCopy reads the operands of a copy: which of their bytes are there is in
// the instruction.
func readCopy(r io.ByteReader, op byte) (offset, count int64, err error) {
	operand := func(bits byte, shift int) (v int64) {
		for ; bits != 0; bits, shift = bits>>1, shift+8 {
			if bits&1 == 0 || err != nil {
				continue
			}
			var b byte
			if b, err = r.ReadByte(); err == nil {
				v |= int64(b) << shift
			}
		}
		return v
	}
	offset = operand(op&0x0f, 0)
	if count = operand(op>>4&7, 0); count == 0 {
		count = 0x10000
	}
	return offset, count, unexpected(err)
}

func readVarint(r io.ByteReader) (int64, error) {
	var v int64
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		if shift > 49 {
			return 0, corrupt("the length in a delta overflows")
		}
		v |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, nil
		}
	}
}
