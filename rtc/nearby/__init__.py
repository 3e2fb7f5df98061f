"""Workers in the local network: how a worker announces itself by zeroconf (mDNS and DNS-SD), and how it is found."""
