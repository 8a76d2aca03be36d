//! A study's results as a page, as tables and as data. Pure: text in, text out.
