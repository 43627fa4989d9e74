-- Letters in the order of their burial, with what became of them.
SELECT letter.id, letter.at, letter.topic, letter.partition, letter."offset", letter.consumer AS "consumer?", letter.attempts,
       letter.reason, replay.begun_at AS "replay_begun_at?", replay.done_at AS "replayed_at?",
       replay.done_offset AS "replayed_to?", act.actor AS "replayed_by?", act.reason AS "replayed_because?"
FROM dead_letters letter
LEFT JOIN dead_letter_replays replay ON replay.letter = letter.id
LEFT JOIN audit act ON act.id = replay.audit
WHERE letter.id > $1 AND ($2::uuid[] IS NULL OR letter.id = ANY ($2))
ORDER BY letter.id
LIMIT $3
