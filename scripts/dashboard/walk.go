package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"wasmhost.example/api"
)

// watched notes what the page does that it must not: requests to anybody else, and
// errors, among them what its policy stopped.
type watched struct {
	host string

	mu  sync.Mutex
	bad []string

	broke []string // requests that did not end well, with why
}

func (w *watched) event(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Host != w.host && u.Scheme != "data" {
			w.bad = append(w.bad, "a request to "+e.Request.URL)
		}
		if strings.Contains(e.Request.URL, "code=") {
			w.bad = append(w.bad, "the code went along with a request: "+e.Request.URL)
		}
	case *network.EventLoadingFailed:
		w.broke = append(w.broke, fmt.Sprintf("%s %s", e.Type, e.ErrorText))
	case *runtime.EventExceptionThrown:
		w.bad = append(w.bad, "an exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" {
			text := "an error"
			for _, a := range e.Args {
				text += ": " + a.Description
			}
			w.bad = append(w.bad, text)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			w.bad = append(w.bad, "an error: "+e.Entry.Text)
		}
	}
}

func (w *watched) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bad) > 0 {
		return fmt.Errorf("the page did what it must not: %s", strings.Join(w.bad, "; "))
	}
	return nil
}

// walk uses the page.
func (s *stage) walk(ctx context.Context, browser, profile, screenshot string) error {
	next, err := s.dashboard(ctx, filepath.Dir(profile))
	if err != nil {
		return err
	}
	link, err := next()
	if err != nil {
		return err
	}
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.UserDataDir(profile), chromedp.WindowSize(1400, 1000))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox does not work for root
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, end := chromedp.NewContext(ctx)
	defer end()
	w := &watched{host: u.Host}
	if err := chromedp.Listen(ctx, w.event); err != nil {
		return fmt.Errorf("starting %s: %w", browser, err)
	}
	steps := []step{
		{"the page opens", s.opens(link)},
		{"it shows two nodes, their kinds and daemons", s.shows()},
		{"a daemon moves, by keyboard", s.moves()},
		{"the daemon was seen moving, its downtime and phases are shown", s.moved()},
		{"what another node moves is shown too", s.movedByTwo()},
		{"one daemon", s.one1()},
		{"what a guest says is text", s.hostile()},
		{"the colours", s.colours(screenshot)},
		{"a link is good once", s.usedLink(link, next)},
		{"to look only", s.readOnly(filepath.Dir(profile), w)},
	}
	for _, st := range steps {
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := errors.Join(chromedp.Do(within, st.do...), w.err())
		if err != nil {
			if page, readErr := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`)); readErr == nil {
				err = fmt.Errorf("%w; requests that broke: %v; the page:\n%.3000s", err, w.broke, page)
			}
			cancel()
			return fmt.Errorf("%s: %w", st.what, err)
		}
		cancel()
		fmt.Printf("  %s: %v\n", st.what, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

type act = chromedp.Action[chromedp.Void]

type acts []act

type step struct {
	what string
	do   acts
}

// call is an act of ours.
func call(f func(ctx context.Context) error) act {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return f(ctx) })
}

// js runs JavaScript.
func js(format string, args ...any) act {
	return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(format, args...))
}

// until waits until the JavaScript expression is true.
func until(expression string) act {
	return call(func(ctx context.Context) error {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second)))
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", expression, err)
		}
		return nil
	})
}

// cell is the text of a table's cell, in the row that has text in its first.
func cell(table, text string, column int) string {
	return fmt.Sprintf(`([...document.querySelectorAll('#%s tbody tr')].find(r => r.children[0].textContent.startsWith(%q)) || {children: []}).children[%d]?.textContent`, table, text, column)
}

func (s *stage) opens(link string) acts {
	return acts{
		chromedp.Navigate(link),
		until(`document.getElementById('status').textContent === 'live'`),
		until(`location.hash === '' && !location.href.includes('code=')`),
		// Each state that a daemon is shown in is noted, however short it is.
		js(`window.states = new Set(); new MutationObserver(() => { for (const r of document.querySelectorAll('#daemons tbody tr')) window.states.add(r.children[0].textContent + ' ' + r.children[3].textContent); }).observe(document.querySelector('#daemons tbody'), {subtree: true, childList: true, characterData: true}); 0`),
	}
}

func (s *stage) shows() acts {
	return acts{
		until(`document.querySelectorAll('#nodes tbody tr').length === 2`),
		until(cell("nodes", "one", 3) + ` === 'connected'`), until(cell("nodes", "two", 3) + ` === 'connected'`),
		until(cell("nodes", "one", 4) + ` === '3'`), until(cell("nodes", "two", 4) + ` === '1'`),
		until(`/of .*iB/.test(` + cell("nodes", "two", 7) + `)`),
		until(`document.querySelectorAll('#kinds tbody tr').length === 3`),
		until(`document.querySelectorAll('#daemons tbody tr').length === 4`),
		until(cell("daemons", "words", 2) + ` === 'one'`), until(cell("daemons", "clicks", 2) + ` === 'two'`),
		until(`parseFloat(` + cell("daemons", "words", 6) + `) > 0`), // events a second
		until(`/MiB/.test(` + cell("daemons", "large", 8) + `)`),
		until(`document.getElementById('happened').textContent.includes('two is followed')`),
	}
}

func (s *stage) moves() acts {
	return acts{
		chromedp.KeyEvent("/"),
		until(`document.activeElement.id === 'filter'`),
		js(`document.activeElement.select()`), // the driver types the stroke too, which a person's browser does not
		chromedp.KeyEvent("large"),
		until(`document.querySelectorAll('#daemons tbody tr').length === 1`),
		chromedp.KeyEvent(kb.Tab), // to the table
		call(func(ctx context.Context) error { // the button is some stops on
			for range 6 {
				at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.activeElement.textContent`))
				if err != nil || at == "Move…" {
					return err
				}
				if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
					return err
				}
			}
			return errors.New("the keyboard does not come to the button Move")
		}),
		chromedp.KeyEvent(kb.Enter),
		until(`document.getElementById('move').open && document.activeElement.id === 'move-to'`),
		until(`document.getElementById('move-h').textContent === 'Move large'`),
		until(`document.querySelector('#move-to option').textContent === 'two'`),
		chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab),
		until(`document.activeElement.id === 'move-go'`),
		chromedp.KeyEvent(kb.Enter),
		until(`/^moved to two, downtime [\d.]+ ms$/.test(document.getElementById('move-said').textContent)`),
		chromedp.KeyEvent(kb.Escape),
		until(`!document.getElementById('move').open`),
		js(`document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input')); 0`),
	}
}

func (s *stage) moved() acts {
	first := `document.querySelector('#moves > li')`
	return acts{
		until(`window.states.has('large moving')`),
		until(cell("daemons", "large", 2) + ` === 'two'`), until(cell("daemons", "large", 4) + ` === '2'`),
		until(`/^moved, downtime [\d.]+ ms$/.test(` + first + `.querySelector('.outcome').textContent)`),
		until(first + `.querySelector('.route').textContent === 'one → two'`),
		until(`['snapshot', 'transfer', 'restore', 'replay', 'cutover'].every(p => ` + first + `.querySelector('.phases').textContent.includes(p + ' '))`),
		until(`/round 0 \(bulk\).*round 1 \(/.test(` + first + `.querySelector('.rounds').textContent)`),
		until(first + `.querySelectorAll('rect').length >= 5`),
		until(cell("nodes", "two", 4) + ` === '2'`),
		// What the page says of the downtime is what the receipt says.
		call(func(ctx context.Context) error {
			told, err := chromedp.Run(ctx, chromedp.Evaluate[string](first+`.querySelector('.outcome').textContent`))
			if err != nil {
				return err
			}
			all, err := s.one.Client.Daemons().Receipts(ctx, "large")
			if err != nil {
				return err
			}
			var said float64
			if _, err := fmt.Sscanf(told, "moved, downtime %f ms", &said); err != nil {
				return err
			}
			if len(all) != 1 || said < all[0].DowntimeMS-1 || said > all[0].DowntimeMS+1 {
				return fmt.Errorf("the page says %q, the receipts are %+v", told, all)
			}
			return nil
		}),
	}
}

func (s *stage) movedByTwo() acts {
	return acts{
		call(func(ctx context.Context) error {
			_, err := s.two.Client.Migrate(ctx, "clicks", api.Migrate{To: "one"}, func(api.MigrationStep) {})
			return err
		}),
		until(`document.querySelectorAll('#moves > li').length === 2`),
		until(`document.querySelector('#moves .route').textContent === 'two → one'`),
		until(`/^moved, downtime/.test(document.querySelector('#moves .outcome').textContent)`),
		until(cell("daemons", "clicks", 2) + ` === 'one'`),
	}
}

func (s *stage) one1() acts {
	return acts{
		js(`[...document.querySelectorAll('#daemons button.link')].find(b => b.textContent === 'large').click()`),
		until(`document.getElementById('one-h').textContent === 'Daemon large'`),
		until(`document.querySelectorAll('#chain tbody tr').length >= 20`),
		until(`Number(document.querySelector('#chain tbody tr td:nth-child(2)').textContent) > Number(document.querySelector('#chain tbody tr:last-child td:nth-child(2)').textContent)`),
		until(`document.querySelectorAll('#receipts tbody tr').length === 1`),
		until(`/one.*two.*ms.*both nodes/.test(document.querySelector('#receipts tbody tr').textContent)`),
		until(`/head [0-9a-f]{64}, sequence/.test(document.getElementById('facts').textContent)`),
	}
}

func (s *stage) hostile() acts {
	return acts{
		js(`[...document.querySelectorAll('#daemons button.link')].find(b => b.textContent === 'parrot').click()`),
		until(`document.getElementById('one-h').textContent === 'Daemon parrot'`),
		call(func(ctx context.Context) error {
			_, err := s.one.Client.Send(ctx, "parrot", "", []byte(`<img src=x onerror="window.hurt = 1"><script>window.hurt = 1</script>`))
			return err
		}),
		until(`document.querySelector('#chain tbody tr')?.textContent.includes('<img src=x')`),
		until(`document.querySelectorAll('#chain img, #chain script').length === 0 && window.hurt === undefined`),
		js(`[...document.querySelectorAll('#daemons button.link')].find(b => b.textContent === 'large').click()`),
		until(`document.querySelectorAll('#chain tbody tr').length >= 20`),
	}
}

// colours follow the system, and the reader's choice against it.
func (s *stage) colours(screenshot string) acts {
	back := `getComputedStyle(document.body).backgroundColor`
	scheme := func(v string) act {
		return call(func(ctx context.Context) error {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: v}}})
			return err
		})
	}
	choose := func(v string) act {
		return js(`document.getElementById('theme').value = %q; document.getElementById('theme').dispatchEvent(new Event('change')); 0`, v)
	}
	light, dark := `=== 'rgb(251, 251, 253)'`, `=== 'rgb(20, 20, 26)'`
	return acts{
		scheme("light"), until(back + light),
		call(func(ctx context.Context) error {
			if screenshot == "" {
				return nil
			}
			png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				return err
			}
			return os.WriteFile(screenshot, png, 0o644)
		}),
		scheme("dark"), until(back + dark),
		choose("light"), until(back + light),
		scheme("light"), choose("dark"), until(back + dark),
		choose(""), until(back + light),
	}
}

func (s *stage) usedLink(link string, next func() (string, error)) acts {
	fresh := ""
	return acts{
		chromedp.Reload(), until(`document.querySelectorAll('#nodes tbody tr').length === 2`), // the session is the tab's
		js(`sessionStorage.clear(); 0`),
		chromedp.Navigate(strings.SplitN(link, "#", 2)[0]), chromedp.Reload(),
		until(`document.getElementById('notice').textContent.includes('latest link') && document.getElementById('main').hidden`),
		chromedp.Navigate("about:blank"), chromedp.Navigate(link),
		until(`document.getElementById('notice').textContent.includes('used already') && document.getElementById('main').hidden`),
		chromedp.Navigate("about:blank"),
		call(func(ctx context.Context) (err error) {
			if fresh, err = next(); err != nil {
				return err
			}
			return chromedp.Do(ctx, chromedp.Navigate(fresh))
		}),
		until(`document.querySelectorAll('#nodes tbody tr').length === 2`),
		until(`document.querySelectorAll('#moves > li').length >= 2`), // what the node remembers
	}
}

func (s *stage) readOnly(dir string, w *watched) acts {
	return acts{
		call(func(ctx context.Context) error {
			next, err := s.dashboard(ctx, dir, "--read-only")
			if err != nil {
				return err
			}
			link, err := next()
			if err != nil {
				return err
			}
			u, err := url.Parse(link)
			if err != nil {
				return err
			}
			w.mu.Lock()
			w.host = u.Host
			w.mu.Unlock()
			return chromedp.Do(ctx, chromedp.Navigate(link))
		}),
		until(`document.querySelectorAll('#daemons tbody tr').length === 4`),
		until(`document.querySelectorAll('#daemons td:last-child button').length === 0`),
	}
}
