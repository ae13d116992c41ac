-- Run once by the database's owner. Users that Vault makes get their rights from this group.
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL);
INSERT INTO orders (item) VALUES ('umbrella'), ('lighthouse'), ('kettle');
CREATE ROLE orders_reader NOLOGIN;
GRANT SELECT ON orders TO orders_reader;
GRANT orders_reader TO vault WITH ADMIN OPTION;
