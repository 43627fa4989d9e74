SELECT incarnation FROM outbox_ring
