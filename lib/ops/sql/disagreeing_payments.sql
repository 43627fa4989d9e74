-- What each status says must be in the ledger, against what is there. `booked` lists the effects; each is whole when the entries on
-- the debit side add up to the payment's amount, lies on the accounts and sides that belong to it, and stands at a step that may cause
-- it. What a human put into suspense says nothing of the status.
SELECT format('%s (%s of %s %s) stands at %s with [%s]%s', id, type, amount, currency, status, coalesce(booked, ''),
              CASE WHEN strayed > 0 THEN ', entries of another amount, account, gateway or step' ELSE '' END) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT payment.id, payment.type, payment.amount, payment.currency, payment.status, ledger.booked,
             coalesce(ledger.strayed, 0) AS strayed
      FROM transactions payment
      LEFT JOIN (SELECT transaction_id, string_agg(effect, ' ' ORDER BY first_id) FILTER (WHERE effect <> 'suspend') AS booked,
                        count(*) FILTER (WHERE strayed) AS strayed
                 FROM (SELECT entry.transaction_id, entry.effect, min(entry.id) AS first_id,
                              (entry.effect IN ('hold', 'post', 'release', 'credit', 'recover', 'reverse')
                               AND coalesce(sum(entry.amount) FILTER (WHERE entry.side = 'debit'), 0) <> max(owner.amount))
                              OR bool_or(entry.effect IN ('post', 'credit', 'recover', 'reverse') AND entry.account = 'clearing'
                                         AND owner.status IN ('succeeded', 'reversed') AND entry.gateway <> owner.gateway)
                              OR bool_or(NOT CASE entry.effect
                                                 WHEN 'hold' THEN (entry.side, entry.account) IN (('debit', 'available'), ('credit', 'held'))
                                                 WHEN 'post' THEN (entry.side, entry.account) IN (('debit', 'held'), ('credit', 'clearing'))
                                                 WHEN 'release' THEN (entry.side, entry.account) IN (('debit', 'held'), ('credit', 'available'))
                                                 -- Paid out after its hold was released.
                                                 WHEN 'recover' THEN (entry.side, entry.account) IN (('debit', 'available'), ('debit', 'owed'),
                                                                                                     ('credit', 'clearing'))
                                                 WHEN 'credit' THEN (entry.side, entry.account) IN (('debit', 'clearing'), ('credit', 'owed'),
                                                                                                    ('credit', 'available'))
                                                 -- What was booked, the other way round; what the user has no more is owed.
                                                 WHEN 'reverse' THEN CASE owner.type
                                                     WHEN 'deposit' THEN (entry.side, entry.account) IN (('debit', 'available'), ('debit', 'owed'),
                                                                                                         ('credit', 'clearing'))
                                                     ELSE (entry.side, entry.account) IN (('debit', 'clearing'), ('credit', 'owed'),
                                                                                          ('credit', 'available')) END
                                                 ELSE true END)
                              OR bool_or(step.to_status IS NULL
                                         OR NOT CASE entry.effect WHEN 'hold' THEN step.to_status = 'created'
                                                WHEN 'release' THEN step.to_status IN ('failed', 'cancelled', 'expired')
                                                WHEN 'reverse' THEN step.to_status = 'reversed'
                                                WHEN 'suspend' THEN step.from_status = 'review' AND step.actor = 'operator'
                                                WHEN 'recover' THEN step.from_status = 'review' AND step.to_status = 'succeeded'
                                                ELSE step.to_status = 'succeeded' END) AS strayed
                       FROM ledger_entries entry
                       JOIN transactions owner ON owner.id = entry.transaction_id
                       LEFT JOIN transitions step ON step.transaction_id = entry.transaction_id AND step.version = entry.version
                       GROUP BY entry.transaction_id, entry.effect) effects
                 GROUP BY transaction_id) ledger ON ledger.transaction_id = payment.id) payments
WHERE strayed > 0
   OR NOT CASE
        WHEN type = 'deposit' AND status = 'succeeded' THEN coalesce(booked, '') = 'credit'
        WHEN type = 'deposit' AND status = 'reversed'  THEN coalesce(booked, '') = 'credit reverse'
        WHEN type = 'deposit' AND status = 'review'    THEN coalesce(booked, '') IN ('', 'credit')
        WHEN type = 'deposit'                          THEN booked IS NULL
        WHEN status = 'succeeded'                         THEN coalesce(booked, '') IN ('hold post', 'hold release recover')
        WHEN status = 'reversed'                          THEN coalesce(booked, '') IN ('hold post reverse', 'hold release recover reverse')
        WHEN status IN ('failed', 'cancelled', 'expired') THEN coalesce(booked, '') = 'hold release'
        WHEN status = 'review' THEN coalesce(booked, '') IN ('hold', 'hold post', 'hold release', 'hold release recover')
        ELSE coalesce(booked, '') = 'hold' END
ORDER BY id
LIMIT 5
