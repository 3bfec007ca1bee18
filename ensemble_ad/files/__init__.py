"""Files that are whole or not there, and what strangers send: archives, arrays, tables of ids."""
