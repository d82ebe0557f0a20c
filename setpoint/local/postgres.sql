-- name: exists
-- Creating a database cannot be made conditional, so it is asked first.
SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1::text)

-- name: create
-- A utility statement takes no parameters, so the server quotes the name into one for us.
SELECT format('CREATE DATABASE %I', $1::text)
