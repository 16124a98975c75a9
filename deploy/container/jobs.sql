-- A job table that lives: jobs come in and are worked on, by events of the database in place of workers. One job was
-- started three hours ago and nobody ends it. Run once, when the database is made; it needs --event-scheduler=ON.
CREATE TABLE jobs (
  id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  queue VARCHAR(40) NOT NULL,
  created_at DATETIME NOT NULL,
  locked_at DATETIME NULL,
  locked_host VARCHAR(64) NULL,
  locked_pid INT UNSIGNED NULL
);
INSERT INTO jobs (queue, created_at, locked_at, locked_host, locked_pid) VALUES
  ('newsletter', UTC_TIMESTAMP() - INTERVAL 4 HOUR, UTC_TIMESTAMP() - INTERVAL 3 HOUR, 'app02', 4711);
CREATE EVENT enqueue ON SCHEDULE EVERY 2 SECOND DO
  INSERT INTO jobs (queue, created_at) VALUES (ELT(1 + FLOOR(RAND() * 2), 'receipt', 'reminder'), UTC_TIMESTAMP());
CREATE EVENT finish ON SCHEDULE EVERY 3 SECOND DO
  DELETE FROM jobs WHERE locked_host = 'app01' AND locked_at < UTC_TIMESTAMP() - INTERVAL 20 + RAND() * 20 SECOND;
CREATE EVENT start ON SCHEDULE EVERY 2 SECOND DO
  UPDATE jobs SET locked_at = UTC_TIMESTAMP(), locked_host = 'app01', locked_pid = 100 + id % 4
  WHERE locked_at IS NULL ORDER BY id LIMIT 1;
