-- Where a quote begins is called start_char now. In a text of the document the quotation marks would be escaped, in its metadata no number follows.

UPDATE messages SET doc = regexp_replace(doc, '"quote_start":([0-9]+)', '"start_char":\1', 'g') WHERE contains(doc, '"quote_start":');
