-- A statement opens the partitions of all tables that stand in it, whether it comes to read them or not: those of 90
-- days take longer than all the rest of it. What it asks only now and then stands in functions.

-- Asked of nothing, they do not look.
ALTER FUNCTION last_message(integer) STRICT;
ALTER FUNCTION last_delivery(integer) STRICT;

-- Whether a message is still there.
CREATE FUNCTION message_is_there(of_key bigint, on_day integer) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM message m WHERE m.key = of_key AND m.day = on_day);
END $$;
