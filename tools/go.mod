// The programs that check the code, in a module of their own: their many
// dependencies must not choose the versions that Headway is built with.
module headway.dev/tools

go 1.26.0
