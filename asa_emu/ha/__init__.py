"""More than one headend: failover and load balancing. Pure: facts and instants in, decisions out."""
