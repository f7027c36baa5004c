module tulle.dev/examples/shop/orders

go 1.19
