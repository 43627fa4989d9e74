INSERT INTO routes (country, currency, priority, gateway)
SELECT country, currency, priority, gateway
FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[]) AS route (country, currency, priority, gateway)
