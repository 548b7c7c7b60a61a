-- A table whose spec has `search` stores the words of its rows in a generated column. `array_to_string` is not declared
-- immutable, since an array of times, say, is spelled as the session says; of an array of texts it always is.

CREATE OR REPLACE FUNCTION join_words(words TEXT[]) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_to_string(words, ' ');
