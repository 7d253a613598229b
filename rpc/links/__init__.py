"""Links over what an operating system offers: serial ports, UDP, TCP; and chains and buses behind them."""
