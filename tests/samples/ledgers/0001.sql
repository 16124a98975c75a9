BEGIN TRANSACTION;
CREATE TABLE queuemedic_breakers (
	queue VARCHAR(1000) NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (queue)
);
INSERT INTO "queuemedic_breakers" VALUES('analytics','{"$":"mapping","value":[["open_since",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"}],["suspect_at",{"$":"datetime","value":"2026-11-24T12:01:00+00:00"}],["counted",{"$":"set","value":[{"$":"attempt","value":["analytics","1",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"web1","4380"]}]}],["acknowledged",{"$":"set","value":[]}],["dead_hosts",2],["hosts",3]]}');
CREATE TABLE queuemedic_journal (
	number BIGINT NOT NULL, 
	act VARCHAR(16) NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	queue VARCHAR(1000) NOT NULL, 
	job VARCHAR(255) NOT NULL, 
	attempt VARCHAR(64) NOT NULL, 
	natural_key TEXT NOT NULL, 
	intent BIGINT, 
	result VARCHAR(64) NOT NULL, 
	content TEXT NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "queuemedic_journal" VALUES(1,'intent','2026-11-24T12:00:00.000000Z','analytics','0','4311b9d58e461c133026e18f983092d62d34e31d829ffb69552bfe4bdbe6bec7','["site","0"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:00:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:00:00.000000Z","instance":"med1:77","key":["analytics","0",{"$":"decimal","value":"0"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","0"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"0"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','0000000000000000000000000000000000000000000000000000000000000000','db8259cc333bbad1bd5adfc05913411e2ffc8c67a4bc9ca61f6d68faf89d423a');
INSERT INTO "queuemedic_journal" VALUES(2,'outcome','2026-11-24T12:01:00.000000Z','analytics','0','4311b9d58e461c133026e18f983092d62d34e31d829ffb69552bfe4bdbe6bec7','["site","0"]',1,'reset','{"at":"2026-11-24T12:01:00.000000Z","detail":"why\n\u0000","outcome":"reset"}','db8259cc333bbad1bd5adfc05913411e2ffc8c67a4bc9ca61f6d68faf89d423a','564ac0133098d2c78b22f7d2cae7cf6fc9ff0ce5c33a4bac68585971a949c899');
INSERT INTO "queuemedic_journal" VALUES(3,'intent','2026-11-24T12:01:00.000000Z','analytics','1','86d67a76fa3e4ef42cbc740c100933366e5e379119ee4e0426e42ae6215087c7','["site","1"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:01:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:01:00.000000Z","instance":"med1:77","key":["analytics","1",{"$":"decimal","value":"1"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","1"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:01:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:01:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"1"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','564ac0133098d2c78b22f7d2cae7cf6fc9ff0ce5c33a4bac68585971a949c899','d9cd35393a1869efd38e7c52cf33c52d0f50fda359a343d32f01238c9eaf8823');
INSERT INTO "queuemedic_journal" VALUES(4,'outcome','2026-11-24T12:02:00.000000Z','analytics','1','86d67a76fa3e4ef42cbc740c100933366e5e379119ee4e0426e42ae6215087c7','["site","1"]',3,'lost_race','{"at":"2026-11-24T12:02:00.000000Z","detail":"why\n\u0000","outcome":"lost_race"}','d9cd35393a1869efd38e7c52cf33c52d0f50fda359a343d32f01238c9eaf8823','ac3029e1d3fe8541a08fae9a708d481c67e3d677ae1b6cbcf5c4d9cc204f99ee');
INSERT INTO "queuemedic_journal" VALUES(5,'intent','2026-11-24T12:02:00.000000Z','analytics','2','b686d93406bd4aa2ff2d63d8e5e201556c4e715d7845624b2e18344c23348f1d','["site","2"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:02:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:02:00.000000Z","instance":"med1:77","key":["analytics","2",{"$":"decimal","value":"2"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","2"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:02:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:02:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"2"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','ac3029e1d3fe8541a08fae9a708d481c67e3d677ae1b6cbcf5c4d9cc204f99ee','e6d4159ce3022386f1126d0c667f6efcc910a5e17cb2720e1a432bbe531b55b2');
INSERT INTO "queuemedic_journal" VALUES(6,'outcome','2026-11-24T12:03:00.000000Z','analytics','2','b686d93406bd4aa2ff2d63d8e5e201556c4e715d7845624b2e18344c23348f1d','["site","2"]',5,'gone','{"at":"2026-11-24T12:03:00.000000Z","detail":"why\n\u0000","outcome":"gone"}','e6d4159ce3022386f1126d0c667f6efcc910a5e17cb2720e1a432bbe531b55b2','aadbe5c38c82dedae4f44cdf85377307df95bcf5edd2e201ad484b06cd956aff');
INSERT INTO "queuemedic_journal" VALUES(7,'intent','2026-11-24T12:03:00.000000Z','analytics','3','fca6817262099f7349e13c500708b25c98b4990e96c9af925b05ca8b644a92ea','["site","3"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:03:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:03:00.000000Z","instance":"med1:77","key":["analytics","3",{"$":"decimal","value":"3"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","3"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:03:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:03:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"3"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','aadbe5c38c82dedae4f44cdf85377307df95bcf5edd2e201ad484b06cd956aff','b7bd240c10b20c89ad3a3d92f3c881dc6ab2839d995084da2d442bcf99987d6f');
INSERT INTO "queuemedic_journal" VALUES(8,'outcome','2026-11-24T12:04:00.000000Z','analytics','3','fca6817262099f7349e13c500708b25c98b4990e96c9af925b05ca8b644a92ea','["site","3"]',7,'failed','{"at":"2026-11-24T12:04:00.000000Z","detail":"why\n\u0000","outcome":"failed"}','b7bd240c10b20c89ad3a3d92f3c881dc6ab2839d995084da2d442bcf99987d6f','3bfedf6b0ee2800baad3fa0ddbf0999fe95ad8c39f73f07d6961a83fdf52c004');
INSERT INTO "queuemedic_journal" VALUES(9,'intent','2026-11-24T12:04:00.000000Z','analytics','4','68e5547342103682db48dd56611b42159ec09cb568f1c2259e6ee8eeaed87bee','["site","4"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:04:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:04:00.000000Z","instance":"med1:77","key":["analytics","4",{"$":"decimal","value":"4"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","4"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:04:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:04:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"4"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','3bfedf6b0ee2800baad3fa0ddbf0999fe95ad8c39f73f07d6961a83fdf52c004','f1adb281524cd5337b9260321a4b7704eaf332585ff04c9f022979b36a629767');
INSERT INTO "queuemedic_journal" VALUES(10,'outcome','2026-11-24T12:05:00.000000Z','analytics','4','68e5547342103682db48dd56611b42159ec09cb568f1c2259e6ee8eeaed87bee','["site","4"]',9,'unknown','{"at":"2026-11-24T12:05:00.000000Z","detail":"why\n\u0000","outcome":"unknown"}','f1adb281524cd5337b9260321a4b7704eaf332585ff04c9f022979b36a629767','a277e655523242540de908f1e8c8b6fa78577136bebad2802e6f861e3ab03cbf');
INSERT INTO "queuemedic_journal" VALUES(11,'intent','2026-11-24T12:05:00.000000Z','analytics','5','38f5c02844d0eaa74c0a0428574f29cb2d30a0cf5706131fb5b6371a12767655','["site","5"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:05:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:05:00.000000Z","instance":"med1:77","key":["analytics","5",{"$":"decimal","value":"5"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","5"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:05:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:05:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"5"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','a277e655523242540de908f1e8c8b6fa78577136bebad2802e6f861e3ab03cbf','387f51d8ba4f068cb4498c512451cda87b2829dab4e91f6192df160011b1ac07');
INSERT INTO "queuemedic_journal" VALUES(12,'outcome','2026-11-24T12:06:00.000000Z','analytics','5','38f5c02844d0eaa74c0a0428574f29cb2d30a0cf5706131fb5b6371a12767655','["site","5"]',11,'dry_run','{"at":"2026-11-24T12:06:00.000000Z","detail":"why\n\u0000","outcome":"dry_run"}','387f51d8ba4f068cb4498c512451cda87b2829dab4e91f6192df160011b1ac07','67ae64fb5aebea788cf555e0d7fd539b062dd28297382d6aaca77f61e8e6b69b');
INSERT INTO "queuemedic_journal" VALUES(13,'intent','2026-11-24T12:06:00.000000Z','analytics','6','6143d5bc6de473866b14fcd4696792ea7b87032709c9d3346bbba7afa1820107','["site","6"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:06:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:06:00.000000Z","instance":"med1:77","key":["analytics","6",{"$":"decimal","value":"6"},"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","6"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:06:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:06:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"decimal","value":"6"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','67ae64fb5aebea788cf555e0d7fd539b062dd28297382d6aaca77f61e8e6b69b','fa9e7a8734810bcfc59b1fb7ebe12bbaf4d36c1bd7ad4a2db037787fbb43bed2');
INSERT INTO "queuemedic_journal" VALUES(14,'intent','2026-11-24T12:00:00.000000Z','analytics','long\u0000\udcff','bd931e9c63b99f09f9c21d1539c6f31c469ebe36ad69ffd8b0a98ffda9fbf23a','["site","long\u0000\udcff"]',NULL,'','{"actor":"serve","at":"2026-11-24T12:00:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:00:00.000000Z","instance":"med1:77","key":["analytics","long\u0000\udcff",null,"web1","4380"],"kind":"day","mode":"reset","natural_key":["site","long\u0000\udcff"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"id":{"$":"bytes","value":"AP8="},"text":{"$":"digest","value":"sha256:d69e68988157833272305aaf21f453c800346e8a3640db6578e260215542e5d4 of 100000 bytes"}}}','fa9e7a8734810bcfc59b1fb7ebe12bbaf4d36c1bd7ad4a2db037787fbb43bed2','1cd44ac37b26f46457d5eb3efc11bc90f99f39756d9e617f4f7330cbaaaad8c4');
INSERT INTO "queuemedic_journal" VALUES(15,'refusal','2026-11-24T12:00:00.000000Z','analytics','1','3de87fa8e957956faf1aea614d1cf15093d559e4d1da1ae97db6f83b5aaf9b8a','["site","1"]',NULL,'rate','{"actor":"serve","at":"2026-11-24T12:00:00.000000Z","detail":"500 of 500 in the last hour","evidence":{"load":null},"instance":"med1:77","key":["analytics","1",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"web1","4380"],"kind":"day","natural_key":["site","1"],"reason":"rate"}','1cd44ac37b26f46457d5eb3efc11bc90f99f39756d9e617f4f7330cbaaaad8c4','58806f0178a70b0007902e1bfce8f1098971a9142d3b7d1d28232187dd22b540');
INSERT INTO "queuemedic_journal" VALUES(16,'refusal','2026-11-24T12:00:00.000000Z','analytics','2','e4b3192175f310fe9b184306ee9a400a699a6a155cc4c7776393f4616b998471','["site","2"]',NULL,'paused','{"actor":"serve","at":"2026-11-24T12:00:00.000000Z","detail":"500 of 500 in the last hour","evidence":{"load":null},"instance":"med1:77","key":["analytics","2",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"web1",null],"kind":"day","natural_key":["site","2"],"reason":"paused"}','58806f0178a70b0007902e1bfce8f1098971a9142d3b7d1d28232187dd22b540','d9d8cd0858a8281ae844f9b7f490ffe7e05e87fbc27dc63b2070db4afbe4396c');
INSERT INTO "queuemedic_journal" VALUES(17,'dry_run','2026-11-24T12:00:00.000000Z','analytics','dry','0f063ee6dfb61b8f630cb38eb135697ff8b7f130b5fecfedfffa2028e1f2343a','["site","dry"]',NULL,'dry_run','{"actor":"serve","at":"2026-11-24T12:00:00.000000Z","changing":{},"config_digest":"c0ffee","first_dead_at":"2026-11-24T12:00:00.000000Z","instance":"med1:77","key":["analytics","dry",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"web1","4380"],"kind":"day","mode":"dry_run","natural_key":["site","dry"],"proofs":[{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"},{"evidence":{"boot_id":"b","uptime":5},"reason":"no_process","seen_at":"2026-11-24T12:00:00.000000Z","value":"dead"}],"rests_on":[{"$":"decimal","value":"1.50"},null],"row":{"at":{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"blob":{"$":"bytes","value":"/wA="},"id":1,"name":"done\n\u0000''; DROP TABLE"}}','d9d8cd0858a8281ae844f9b7f490ffe7e05e87fbc27dc63b2070db4afbe4396c','dcd6e2639f9dac3771ed79d79ffbfe2df3c2a2052c259d835ff0da6c2d7c9fe5');
CREATE TABLE queuemedic_journal_head (
	id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	forgotten_number BIGINT NOT NULL, 
	forgotten_digest VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "queuemedic_journal_head" VALUES(1,17,'dcd6e2639f9dac3771ed79d79ffbfe2df3c2a2052c259d835ff0da6c2d7c9fe5',0,'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE queuemedic_leases (
	queue VARCHAR(1000) NOT NULL, 
	holder TEXT NOT NULL, 
	term BIGINT NOT NULL, 
	ends_at_ms BIGINT NOT NULL, 
	PRIMARY KEY (queue)
);
INSERT INTO "queuemedic_leases" VALUES('analytics','"a"',1,4387727494435);
CREATE TABLE queuemedic_pauses (
	queue VARCHAR(1000) NOT NULL, 
	why TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (queue)
);
INSERT INTO "queuemedic_pauses" VALUES('','"new rack\n"','"ann (sudo)"','2026-11-24T12:00:00.000000Z');
INSERT INTO "queuemedic_pauses" VALUES('analytics','"look"','"bob"','2026-11-24T12:00:00.000000Z');
CREATE TABLE queuemedic_retired (
	digest VARCHAR(64) NOT NULL, 
	host TEXT NOT NULL, 
	why TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "queuemedic_retired" VALUES('28e790b0916aac6c62a74853395926d2d265b9bcc0555d07a5225ee6185aef25','"old\u0000"','"burnt"','"ann"','2026-11-24T12:00:00.000000Z');
CREATE TABLE queuemedic_sightings (
	sort VARCHAR(16) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	known TEXT NOT NULL, 
	learned_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (sort, digest)
);
INSERT INTO "queuemedic_sightings" VALUES('attempt','3de87fa8e957956faf1aea614d1cf15093d559e4d1da1ae97db6f83b5aaf9b8a','{"asked_at":"2026-11-24T12:00:00.000000Z","boots":["m/b"],"enrolment":{"boot_id":"b","machine_id":"m","pid":4380,"seen_at":"2026-11-24T12:00:00.000000Z","start_ticks":918273},"first_seen_at":"2026-11-24T12:00:00.000000Z","key":["analytics","1",{"$":"datetime","value":"2026-11-24T12:00:00+00:00"},"web1","4380"]}','2026-11-24T12:00:00.000000Z');
INSERT INTO "queuemedic_sightings" VALUES('boots','cf01e8ba883e65131d5a84f969ca975a4046b2660c8146a4f4cb632f6d71cabc','["web1",[["m","b","2026-11-24T12:00:00.000000Z","2026-11-24T12:01:00.000000Z",true]]]','2026-11-24T12:00:00.000000Z');
INSERT INTO "queuemedic_sightings" VALUES('proven','cde9b2ec0ed4799f88c9940a27afa0af442c38006e2eb0556b57cac6a2e4f34e','["analytics","m"]','2026-11-24T12:00:00.000000Z');
INSERT INTO "queuemedic_sightings" VALUES('worker','1482c8e6c04e243c1e8edf5816464cc63942ef0f2c213c57f9cf7bd1eb642d72','["analytics","web1",4380]','2026-11-24T12:00:00.000000Z');
CREATE TABLE queuemedic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT queuemedic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "queuemedic_version" VALUES('0001');
CREATE INDEX queuemedic_journal_queue ON queuemedic_journal (queue, act, at);
CREATE INDEX queuemedic_journal_attempt ON queuemedic_journal (attempt, act, result);
CREATE INDEX queuemedic_journal_intent ON queuemedic_journal (intent);
CREATE INDEX queuemedic_journal_at ON queuemedic_journal (at);
CREATE INDEX queuemedic_sightings_learned_at ON queuemedic_sightings (learned_at);
COMMIT;
