//! The compiled configuration: plain data, comparable; and all that can be wrong with a file.
