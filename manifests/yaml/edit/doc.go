// Package edit changes YAML files the way a careful person does: only the lines
// of what changes, with comments, indentation, quotes and line ends as they
// were.
//
//	want := Merge(declared, before, after)   // what the file should say
//	data, err = Set(file, data, id, want)    // the file that says it
//
// Set compares what an object's document says with what it should say, finds
// the bytes of the values that differ and replaces those. What it cannot change
// so (a value that comes through an alias) it refuses with an [Error] that
// names the line. Whatever it returns it has read again: the document says
// exactly what was wanted, and no other document of the file was touched.
package edit
