mod account;
mod outside;
mod session;
