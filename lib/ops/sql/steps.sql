SELECT count(*) AS "steps!" FROM transitions
