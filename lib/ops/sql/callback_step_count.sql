SELECT count(*) AS "steps!" FROM transitions WHERE actor = 'callback' OR cause LIKE 'callback:%'
