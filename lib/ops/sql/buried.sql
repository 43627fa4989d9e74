SELECT topic, partition, "offset" FROM dead_letters
