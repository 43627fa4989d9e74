-- How far each payment has come, and how often it was looked at there without a step.
SELECT id, version, status, asks FROM transactions
