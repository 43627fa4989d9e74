-- Routes of the groups (country, currency) that are about to be written anew; other groups stay.
DELETE FROM routes
USING unnest($1::text[], $2::text[]) AS named (country, currency)
WHERE routes.country IS NOT DISTINCT FROM named.country
  AND routes.currency IS NOT DISTINCT FROM named.currency
