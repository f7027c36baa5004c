module tulle.dev/tests/steady

go 1.19
