-- Why: an attempt that was refused, and is rung about, may have been executed after all. The payment returns to it and is not known, from
-- `created` at once, and from the gateway that it has gone on to should it come to nothing there.
-- NOT VALID spares reading the table under its lock: what stands in it satisfies the narrower rule that stood before.
ALTER TABLE transitions
    DROP CONSTRAINT transitions_legal,
    ADD CONSTRAINT transitions_legal CHECK (
    CASE from_status
        WHEN 'created'          THEN to_status IN ('created', 'submitting', 'unknown', 'cancelled', 'failed', 'review')
        WHEN 'submitting'       THEN to_status IN ('created', 'submitting', 'awaiting_gateway', 'requires_action', 'unknown',
                                                   'succeeded', 'failed', 'review')
        WHEN 'awaiting_gateway' THEN to_status IN ('awaiting_gateway', 'requires_action', 'unknown', 'succeeded', 'failed', 'review')
        WHEN 'requires_action'  THEN to_status IN ('requires_action', 'submitting', 'awaiting_gateway', 'unknown', 'succeeded', 'failed',
                                                   'expired', 'review')
        WHEN 'unknown'          THEN to_status IN ('unknown', 'submitting', 'awaiting_gateway', 'requires_action',
                                                   'succeeded', 'failed', 'review')
        WHEN 'succeeded'        THEN to_status IN ('succeeded', 'reversed', 'review')
        WHEN 'failed'           THEN to_status IN ('failed', 'succeeded', 'review')
        WHEN 'expired'          THEN to_status IN ('expired', 'succeeded', 'review')
        WHEN 'review'           THEN to_status IN ('review', 'succeeded', 'failed', 'reversed')
        ELSE from_status IS NULL AND to_status = 'created'
    END) NOT VALID;
