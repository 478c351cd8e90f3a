-- An older database: made by a script at the first start of the server, with enums, triggers, and columns that have no place now.
CREATE TYPE job_status AS ENUM ('pending', 'processing', 'completed', 'failed');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TABLE users (user_id uuid DEFAULT gen_random_uuid() PRIMARY KEY, username varchar(30) NOT NULL UNIQUE, email text NOT NULL UNIQUE, password_hash text NOT NULL, full_name text, created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE video_jobs (job_id uuid DEFAULT gen_random_uuid() PRIMARY KEY, user_id uuid REFERENCES users (user_id) NOT NULL, filename varchar(255) NOT NULL, status job_status DEFAULT 'pending' NOT NULL, video_url text NOT NULL, result_url text, frame_count integer, error_message text, created_at timestamptz DEFAULT now() NOT NULL, started_at timestamptz, completed_at timestamptz);
CREATE INDEX idx_video_jobs_user ON video_jobs (user_id); CREATE INDEX idx_jobs_status ON video_jobs (status) WHERE status = 'pending';
CREATE TABLE notification_log (notification_id uuid DEFAULT gen_random_uuid() PRIMARY KEY, job_id uuid NOT NULL REFERENCES video_jobs (job_id), type varchar(50) NOT NULL, recipient varchar(255) NOT NULL, status varchar(50) DEFAULT 'pending' NOT NULL, retry_count integer DEFAULT 0 NOT NULL, error_message text, created_at timestamp DEFAULT now() NOT NULL, sent_at timestamp, subject varchar(100) NOT NULL);
INSERT INTO users (username, email, password_hash, full_name) SELECT 'user' || n, 'user' || n || '@example.org', 'hash' || n, 'User ' || n FROM generate_series(1, 5) n;
INSERT INTO video_jobs (user_id, filename, status, video_url, created_at, started_at, completed_at)
  SELECT u.user_id, 'f' || n || '.mp4', s.status, 's3://uploads/f' || n, timestamptz '2026-03-01 12:00:00.123456Z' + n * interval '1 minute', CASE WHEN s.status <> 'pending' THEN timestamptz '2026-03-01 12:30:00.654321Z' END, CASE WHEN s.status IN ('completed', 'failed') THEN timestamptz '2026-03-01 13:00:00.9999Z' END
  FROM users u, generate_series(1, 4) n, LATERAL (SELECT (ARRAY['pending', 'processing', 'completed', 'failed'])[n]::job_status AS status) s;
INSERT INTO notification_log (job_id, type, recipient, status, retry_count, subject)
  SELECT j.job_id, 'email', u.email, CASE j.status WHEN 'completed' THEN 'sent' ELSE 'pending' END, 1, 'Your video' FROM video_jobs j JOIN users u USING (user_id) WHERE j.status IN ('completed', 'failed');
